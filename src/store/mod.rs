//! Where finished segments live: a directory or, later, an object store, behind one narrow face.
//!
//! An object name is what [`crate::key`] made: parsed parts joined by `/`. Anything else is refused
//! here once more, so no name leads out of the store.

pub mod cache;
pub mod disk;

pub use cache::{Cached, SegmentCache};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as Name;
use object_store::{
    GetOptions, GetRange, GetResult, GetResultPayload, ObjectStore, ObjectStoreExt,
};
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Bytes of a local file that are read at once: each piece is one trip to the blocking threads,
/// and what a slow reader of a large segment holds in memory.
const PIECE_LEN: u64 = 256 * 1024;

/// A store of objects. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<dyn ObjectStore>);

/// What a store knows of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meta {
    /// Bytes.
    pub size: u64,
    /// The store's own entity tag, if it has one.
    pub etag: Option<String>,
    /// When it was written last.
    pub modified: SystemTime,
}

/// An object that is being read.
pub struct Object {
    /// Of the whole object, whatever range is read.
    pub meta: Meta,
    /// Its bytes, piece by piece.
    pub body: BoxStream<'static, Result<Bytes, Error>>,
}

/// An object that a listing found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Its name.
    pub object: String,
    /// What the store knows of it.
    pub meta: Meta,
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is no such object: the question's fault, not the store's.
    #[error("the store has no object {object}")]
    NotFound {
        /// Its name.
        object: String,
    },
    /// Not a name that an object can have.
    #[error("{object:?} is no object name")]
    Name {
        /// What was asked for.
        object: String,
    },
    /// The directory cannot be used.
    #[error("cannot open the store in {}", root.display())]
    Open {
        /// The directory.
        root: PathBuf,
        /// Why.
        source: Arc<std::io::Error>,
    },
    /// The store failed; it may be back later.
    #[error("the store cannot {action} {object}")]
    Backend {
        /// What was attempted.
        action: &'static str,
        /// With which object or prefix.
        object: String,
        /// Why.
        source: Arc<object_store::Error>,
    },
}

impl Store {
    /// A store in the directory `root`, which is made if it is not there.
    pub fn local(root: &Path) -> Result<Self, Error> {
        let open = |source| Error::Open {
            root: root.to_owned(),
            source: Arc::new(source),
        };
        std::fs::create_dir_all(root).map_err(open)?;
        let store = LocalFileSystem::new_with_prefix(root).map_err(|e| open(e.into()))?;
        Ok(Self(Arc::new(store)))
    }

    /// A store in memory, for tests.
    pub fn memory() -> Self {
        Self(Arc::new(InMemory::new()))
    }

    /// Opens an object, or a `range` of its bytes that must begin within it.
    pub async fn read(&self, object: &str, range: Option<Range<u64>>) -> Result<Object, Error> {
        let result = self.open(object, range).await?;
        let meta = Meta::from(&result.meta);
        let body = pieces(object.to_owned(), result);
        Ok(Object { meta, body })
    }

    /// The whole of an object. Only for what is known to be small.
    pub async fn get(&self, object: &str) -> Result<Bytes, Error> {
        let result = self.open(object, None).await?;
        result.bytes().await.map_err(error("read", object))
    }

    async fn open(&self, object: &str, range: Option<Range<u64>>) -> Result<GetResult, Error> {
        let options = GetOptions {
            range: range.map(GetRange::Bounded),
            ..GetOptions::default()
        };
        let result = self.0.get_opts(&name(object)?, options).await;
        result.map_err(error("read", object))
    }

    /// Writes a whole object; readers see the old one or the new one.
    pub async fn put(&self, object: &str, bytes: Bytes) -> Result<(), Error> {
        let result = self.0.put(&name(object)?, bytes.into()).await;
        result.map(drop).map_err(error("write", object))
    }

    /// The names of the folders directly within `prefix` (the whole store if it is empty), in order.
    pub async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let within = prefix_name(prefix)?;
        let listed = self.0.list_with_delimiter(within.as_ref()).await;
        let listed = listed.map_err(error("list", prefix))?;
        let last = |folder: &Name| folder.filename().map(str::to_owned);
        let mut folders: Vec<_> = listed.common_prefixes.iter().filter_map(last).collect();
        folders.sort_unstable();
        Ok(folders)
    }

    /// All objects below `prefix`, in no particular order, as the store finds them.
    pub fn list(&self, prefix: &str) -> BoxStream<'static, Result<Listed, Error>> {
        let within = match prefix_name(prefix) {
            Ok(within) => within,
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        let prefix = prefix.to_owned();
        let listed = |meta: object_store::ObjectMeta| Listed {
            object: meta.location.to_string(),
            meta: Meta::from(&meta),
        };
        let found = self.0.list(within.as_ref()).map_ok(listed);
        found.map_err(move |e| error("list", &prefix)(e)).boxed()
    }
}

fn name(object: &str) -> Result<Name, Error> {
    let name = Name::parse(object).ok().filter(|name| {
        // `parse` forgives slashes at the ends; a name has one spelling here.
        !object.is_empty() && name.as_ref() == object
    });
    name.ok_or_else(|| Error::Name {
        object: object.to_owned(),
    })
}

fn prefix_name(prefix: &str) -> Result<Option<Name>, Error> {
    (!prefix.is_empty()).then(|| name(prefix)).transpose()
}

fn error(action: &'static str, object: &str) -> impl FnOnce(object_store::Error) -> Error {
    move |source| match source {
        object_store::Error::NotFound { .. } => Error::NotFound {
            object: object.to_owned(),
        },
        source => Error::Backend {
            action,
            object: object.to_owned(),
            source: Arc::new(source),
        },
    }
}

impl From<&object_store::ObjectMeta> for Meta {
    fn from(meta: &object_store::ObjectMeta) -> Self {
        Self {
            size: meta.size,
            etag: meta.e_tag.clone(),
            modified: meta.last_modified.into(),
        }
    }
}

/// The body of a result. Files are read here and not by `object_store`, whose pieces of 8 KiB cost
/// a trip to the blocking threads each.
fn pieces(object: String, result: GetResult) -> BoxStream<'static, Result<Bytes, Error>> {
    match result.payload {
        GetResultPayload::File(file, _) => {
            let state = (file, result.range);
            stream::try_unfold(state, move |(file, left)| {
                let object = object.clone();
                async move {
                    if left.is_empty() {
                        return Ok(None);
                    }
                    let piece = left.start..left.end.min(left.start.saturating_add(PIECE_LEN));
                    let rest = piece.end..left.end;
                    let (bytes, file) = read_piece(file, piece).await.map_err(|source| {
                        let store = "LocalFileSystem";
                        let source = source.into();
                        error("read", &object)(object_store::Error::Generic { store, source })
                    })?;
                    Ok(Some((bytes, (file, rest))))
                }
            })
            .boxed()
        }
        GetResultPayload::Stream(body) => body.map_err(move |e| error("read", &object)(e)).boxed(),
    }
}

async fn read_piece(mut file: File, piece: Range<u64>) -> std::io::Result<(Bytes, File)> {
    let read = move || {
        let len = usize::try_from(piece.end - piece.start).unwrap_or(0);
        let mut bytes = vec![0; len];
        file.seek(SeekFrom::Start(piece.start))?;
        file.read_exact(&mut bytes)?;
        Ok((bytes.into(), file))
    };
    tokio::task::spawn_blocking(read).await?
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.meta)
    }
}

/// What every store must do, whatever is behind it.
#[cfg(test)]
mod tests {
    use super::*;

    async fn whole(object: Object) -> Vec<u8> {
        let pieces: Vec<Bytes> = object.body.try_collect().await.expect("a body");
        pieces.concat()
    }

    async fn conforms(store: &Store) {
        let long: Bytes = (0..700_000u32)
            .map(|at| at as u8)
            .collect::<Vec<_>>()
            .into();
        for (object, bytes) in [
            ("a/b/1/0000/00000000.ts", long.clone()),
            ("a/b/1/recording.jsonl", Bytes::from_static(b"{}\n")),
            ("a/b/2/recording.jsonl", Bytes::new()),
            ("a/c~1/1/recording.jsonl", Bytes::from_static(b"x")),
        ] {
            store.put(object, bytes.clone()).await.expect("room");
            assert_eq!(store.get(object).await.expect("written"), bytes, "{object}");
            let read = store.read(object, None).await.expect("written");
            assert_eq!(read.meta.size, bytes.len() as u64);
            assert_eq!(whole(read).await, bytes, "{object}");
        }
        for range in [0..1, 5..300_000, 262_144..262_145, 699_999..700_000] {
            let read = store
                .read("a/b/1/0000/00000000.ts", Some(range.clone()))
                .await;
            let read = read.expect("within");
            assert_eq!(read.meta.size, 700_000, "of the whole object");
            let expected = &long[range.start as usize..range.end as usize];
            assert_eq!(whole(read).await, expected, "{range:?}");
        }
        finds(store).await;
        refuses(store).await;
    }

    async fn finds(store: &Store) {
        let check = async |prefix, expected: &[&str]| {
            let found = store.list_folders(prefix).await.expect("a listing");
            assert_eq!(found, expected, "folders in {prefix:?}");
        };
        check("", &["a"]).await;
        check("a", &["b", "c~1"]).await;
        check("a/b", &["1", "2"]).await;
        check("a/nothing", &[]).await;
        let listed: Vec<_> = store.list("a/b").try_collect().await.expect("a listing");
        let mut names: Vec<_> = listed
            .iter()
            .map(|l| (l.object.as_str(), l.meta.size))
            .collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                ("a/b/1/0000/00000000.ts", 700_000),
                ("a/b/1/recording.jsonl", 3),
                ("a/b/2/recording.jsonl", 0),
            ]
        );
    }

    async fn refuses(store: &Store) {
        for object in ["a/b/3", "a/b", "nothing"] {
            let error = store.get(object).await.expect_err(object);
            assert!(
                matches!(error, Error::NotFound { .. }),
                "{object}: {error:?}"
            );
        }
        for object in ["", "/", "a/", "/a", "a//b", "..", "a/../../b", "a/./b"] {
            let error = store.get(object).await.expect_err(object);
            assert!(matches!(error, Error::Name { .. }), "{object}: {error:?}");
        }
    }

    #[tokio::test]
    async fn memory_conforms() {
        conforms(&Store::memory()).await;
    }

    #[tokio::test]
    async fn a_directory_conforms() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("made/here");
        conforms(&Store::local(&root).expect("a store")).await;
        let plain = std::fs::read(root.join("a/c~1/1/recording.jsonl")).expect("its own name");
        assert_eq!(plain, b"x");
    }

    #[test]
    fn a_store_that_cannot_be_opened_says_where() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let error = Store::local(&file.path().join("x")).expect_err("not a directory");
        assert!(
            error.to_string().contains("cannot open the store in /"),
            "{error}"
        );
    }
}
