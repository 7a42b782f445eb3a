//! Where finished segments live: a directory or an object store, behind one narrow face.
//!
//! An object name is what [`crate::key`] made: parsed parts joined by `/`. Anything else is refused
//! here once more, so no name leads out of the store.

pub mod disk;

pub mod remote;
pub mod spool;

pub mod cache;
mod delete;
#[cfg(test)]
pub mod fault;
pub mod signed;

pub use cache::{Cached, SegmentCache};
pub use remote::Remote;
pub use signed::SignedUrls;
pub use spool::Spool;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as Name;
use object_store::{
    Attribute, AttributeValue, Attributes, GetOptions, GetRange, GetResult, GetResultPayload,
    MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions,
    PutResult, UpdateVersion,
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
pub const PIECE_LEN: u64 = 128 * 1024;
/// Bytes that are uploaded in one request, and what an upload holds in memory.
pub const UPLOAD_PIECE: u64 = 8 << 20;

/// A store of objects. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    /// Local files that are looked at first.
    front: Option<Arc<dyn ObjectStore>>,
}

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

/// One state of an object, as the store tells it from others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    etag: Option<String>,
    generation: Option<String>,
}

/// When an object may be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// Whatever is there.
    Always,
    /// If there is none.
    Absent,
    /// If it is as it was.
    Unchanged(Version),
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
    /// The URL of a store is none that is known.
    #[error("store.url {url:?} is not file:…, s3://bucket/…, gs://bucket/… or az://container/…")]
    Scheme {
        /// The URL.
        url: String,
    },
    /// The settings of a remote store contradict each other.
    #[error("cannot use the store {url}: {source}")]
    Remote {
        /// Where it is.
        url: String,
        /// Why.
        source: Arc<object_store::Error>,
    },
    /// A file that was to be uploaded cannot be read.
    #[error("cannot read {object} in the spool: {source}")]
    Local {
        /// The object it was to become.
        object: String,
        /// Why.
        source: Arc<std::io::Error>,
    },
    /// Somebody else has written the object meanwhile.
    #[error("{object} was written by somebody else")]
    Conflict {
        /// Its name.
        object: String,
    },
    /// The store does not know conditions.
    #[error("the store writes {object} whatever is there, or not at all")]
    Unconditional {
        /// Its name.
        object: String,
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
    /// A store of objects that somebody else has opened.
    pub(crate) fn new(objects: Arc<dyn ObjectStore>) -> Self {
        let front = None;
        Self { objects, front }
    }

    /// The same store, but an object that is in the directory `root` is read from there.
    pub fn behind(&self, root: &Path) -> Result<Self, Error> {
        let front = Self::local(root)?;
        Ok(Self {
            objects: self.objects.clone(),
            front: Some(front.objects),
        })
    }

    /// A store in the directory `root`, which is made if it is not there.
    pub fn local(root: &Path) -> Result<Self, Error> {
        let open = |source| Error::Open {
            root: root.to_owned(),
            source: Arc::new(source),
        };
        std::fs::create_dir_all(root).map_err(open)?;
        let store = LocalFileSystem::new_with_prefix(root).map_err(|e| open(e.into()))?;
        Ok(Self::new(Arc::new(store)))
    }

    /// A store in memory, for tests.
    pub fn memory() -> Self {
        Self::new(Arc::new(InMemory::new()))
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
        let name = name(object)?;
        if let Some(front) = &self.front {
            match front.get_opts(&name, options.clone()).await {
                Err(object_store::Error::NotFound { .. }) => {}
                found => return found.map_err(error("read", object)),
            }
        }
        let result = self.objects.get_opts(&name, options).await;
        result.map_err(error("read", object))
    }

    /// Writes a whole object; readers see the old one or the new one.
    pub async fn put(&self, object: &str, bytes: Bytes) -> Result<(), Error> {
        let result = self.objects.put(&name(object)?, bytes.into()).await;
        result.map(drop).map_err(error("write", object))
    }

    /// Removes an object; it does not matter whether it was there.
    pub async fn delete(&self, object: &str) -> Result<(), Error> {
        match self.objects.delete(&name(object)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(failed) => Err(error("delete", object)(failed)),
        }
    }

    /// Uploads a segment of `size` bytes from a file; it is there as a whole or not at all.
    pub async fn upload(&self, object: &str, file: &Path, size: u64) -> Result<(), Error> {
        let local = |source: std::io::Error| Error::Local {
            object: object.to_owned(),
            source: Arc::new(source),
        };
        let location = name(object)?;
        let file = File::open(file).map_err(local)?;
        if size <= UPLOAD_PIECE {
            let (bytes, _) = read_piece(file, 0..size).await.map_err(local)?;
            let options = PutOptions {
                attributes: segment_attributes(),
                ..PutOptions::default()
            };
            let put = self.objects.put_opts(&location, bytes.into(), options);
            return put.await.map(drop).map_err(error("write", object));
        }
        let options = PutMultipartOptions {
            attributes: segment_attributes(),
            ..PutMultipartOptions::default()
        };
        let upload = self.objects.put_multipart_opts(&location, options).await;
        let mut upload = upload.map_err(error("write", object))?;
        let sent = send_pieces(&mut *upload, file, size).await;
        if sent.is_err() {
            // Pieces that stay cost money until the bucket's own rule removes them.
            let _ = upload.abort().await;
        }
        sent.map_err(error("write", object))
    }

    /// The whole of an object that is known to be small, and which state of it that is.
    pub async fn get_version(&self, object: &str) -> Result<(Bytes, Version), Error> {
        let result = self.open(object, None).await?;
        let version = Version {
            etag: result.meta.e_tag.clone(),
            generation: result.meta.version.clone(),
        };
        let bytes = result.bytes().await.map_err(error("read", object))?;
        Ok((bytes, version))
    }

    /// Writes a playlist or an index, with what plain file servers need to know of it, if it is as
    /// `condition` has it.
    pub async fn publish(
        &self,
        published: &spool::Published,
        condition: Condition,
    ) -> Result<Version, Error> {
        let object = &published.object;
        let content_type = match object.ends_with(".m3u8") {
            true => "application/vnd.apple.mpegurl",
            false => "application/jsonl",
        };
        let cache_control = match published.max_age_s {
            0 => "no-cache".to_owned(),
            seconds => format!("public, max-age={seconds}"),
        };
        let options = PutOptions {
            attributes: attributes(content_type, cache_control),
            mode: condition.into(),
            ..PutOptions::default()
        };
        let payload = published.text.clone().into();
        let location = name(object)?;
        let put = self.objects.put_opts(&location, payload, options);
        put.await.map(Version::from).map_err(refused(object))
    }

    /// The names of the folders directly within `prefix` (the whole store if it is empty), in order.
    pub async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, Error> {
        Ok(self.list_level(prefix).await?.0)
    }

    /// Names of the folders and of the objects directly below `prefix`, sorted.
    pub async fn list_level(&self, prefix: &str) -> Result<(Vec<String>, Vec<String>), Error> {
        let within = prefix_name(prefix)?;
        let listed = self.objects.list_with_delimiter(within.as_ref()).await;
        let listed = listed.map_err(error("list", prefix))?;
        let last = |name: &Name| name.filename().map(str::to_owned);
        let mut folders: Vec<_> = listed.common_prefixes.iter().filter_map(last).collect();
        let objects = listed.objects.iter().map(|meta| &meta.location);
        let mut objects: Vec<_> = objects.filter_map(last).collect();
        folders.sort_unstable();
        objects.sort_unstable();
        Ok((folders, objects))
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
        let found = self.objects.list(within.as_ref()).map_ok(listed);
        found.map_err(move |e| error("list", &prefix)(e)).boxed()
    }
}

/// Bytes that are free on the disk of a folder, for those who are not root.
pub async fn free_space(folder: &Path) -> Result<u64, Error> {
    let asked = folder.to_owned();
    let free = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&asked));
    let free = match free.await {
        Ok(found) => found.map_err(std::io::Error::from),
        Err(error) => Err(error.into()),
    };
    let free = free.map_err(|source| Error::Open {
        root: folder.to_owned(),
        source: Arc::new(source),
    })?;
    Ok(free.f_bavail.saturating_mul(free.f_frsize))
}

fn segment_attributes() -> Attributes {
    // A name is used once, so a copy is good for ever.
    attributes(
        "video/mp2t",
        "public, max-age=31536000, immutable".to_owned(),
    )
}

fn attributes(content_type: &'static str, cache_control: String) -> Attributes {
    let pairs: [(Attribute, AttributeValue); 2] = [
        (Attribute::ContentType, content_type.into()),
        (Attribute::CacheControl, cache_control.into()),
    ];
    pairs.into_iter().collect()
}

/// Uploads a file piece by piece.
async fn send_pieces(
    upload: &mut dyn MultipartUpload,
    mut file: File,
    size: u64,
) -> Result<(), object_store::Error> {
    let mut at = 0;
    while at < size {
        let piece = at..size.min(at.saturating_add(UPLOAD_PIECE));
        at = piece.end;
        let read = read_piece(file, piece).await;
        let (bytes, back) = read.map_err(|source| object_store::Error::Generic {
            store: "spool",
            source: source.into(),
        })?;
        file = back;
        upload.put_part(bytes.into()).await?;
    }
    upload.complete().await.map(drop)
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

/// What became of a conditional write.
fn refused(object: &str) -> impl FnOnce(object_store::Error) -> Error {
    use object_store::Error as E;
    let name = object.to_owned();
    move |source| match source {
        E::Precondition { .. } | E::AlreadyExists { .. } => Error::Conflict { object: name },
        E::NotImplemented { .. } | E::NotSupported { .. } => Error::Unconditional { object: name },
        // The code of S3 for a header that a server does not know.
        E::Generic { .. } if says(&source, "<Code>NotImplemented</Code>") => {
            Error::Unconditional { object: name }
        }
        source => error("write", &name)(source),
    }
}

/// Whether an error or one of its causes says so.
fn says(error: &dyn std::error::Error, words: &str) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .any(|error| error.to_string().contains(words))
}

impl From<PutResult> for Version {
    fn from(put: PutResult) -> Self {
        Self {
            etag: put.e_tag,
            generation: put.version,
        }
    }
}

impl From<Condition> for PutMode {
    fn from(condition: Condition) -> Self {
        match condition {
            Condition::Always => Self::Overwrite,
            Condition::Absent => Self::Create,
            Condition::Unchanged(version) => Self::Update(UpdateVersion {
                e_tag: version.etag,
                version: version.generation,
            }),
        }
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
        fmt::Display::fmt(&self.objects, f)
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
        store.put("a/.x.json", "x".into()).await.expect("room");
        let (folders, objects) = store.list_level("a").await.expect("a listing");
        assert_eq!((folders.len(), objects), (2, vec![".x.json".to_owned()]));
        for _ in 0..2 {
            store
                .delete("a/.x.json")
                .await
                .expect("gone, or gone already");
        }
        assert!(matches!(
            store.get("a/.x.json").await,
            Err(Error::NotFound { .. })
        ));
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

    #[tokio::test]
    async fn the_same_store_behind_a_directory_conforms() {
        let dir = tempfile::tempdir().expect("a directory");
        let behind = Store::memory().behind(dir.path()).expect("a store");
        conforms(&behind).await;
        let front = Store::local(dir.path()).expect("a store");
        front
            .put("a/b/1/x", Bytes::from_static(b"local"))
            .await
            .expect("room");
        assert_eq!(behind.get("a/b/1/x").await.expect("in front"), "local");
    }

    #[tokio::test]
    async fn uploads_and_playlists_arrive_whole() {
        arrives(&Store::memory()).await;
    }

    async fn arrives(store: &Store) {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("segment");
        for len in [0, 1, UPLOAD_PIECE, 2 * UPLOAD_PIECE + 1] {
            let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
            std::fs::write(&file, &bytes).expect("room");
            for again in 0..2 {
                let object = format!("up/{len}.ts");
                let uploaded = store.upload(&object, &file, len).await;
                uploaded.unwrap_or_else(|e| panic!("{len} bytes, time {again}: {e:?}"));
                assert_eq!(store.get(&object).await.expect("there"), bytes);
            }
        }
        for text in ["first", "second"] {
            let published = spool::Published {
                object: "up/media.m3u8".to_owned(),
                text: text.into(),
                max_age_s: 1,
            };
            let written = store.publish(&published, Condition::Always).await;
            written.expect("room");
            assert_eq!(store.get("up/media.m3u8").await.expect("there"), text);
        }
    }

    /// An older writer never overwrites a newer one, whoever of them is faster.
    async fn fences(store: &Store) {
        let object = "fenced/media.m3u8";
        let put = async |text: String, condition| {
            let published = spool::Published {
                object: object.to_owned(),
                text: text.into(),
                max_age_s: 1,
            };
            store.publish(&published, condition).await
        };
        let conflicts = |result: Result<Version, Error>| {
            assert!(matches!(result, Err(Error::Conflict { .. })), "{result:?}");
        };
        let first = put("1".to_owned(), Condition::Absent).await;
        let first = first.expect("it is new");
        conflicts(put("x".to_owned(), Condition::Absent).await);
        let second = put("2".to_owned(), Condition::Unchanged(first.clone())).await;
        let second = second.expect("it is as it was");
        conflicts(put("late".to_owned(), Condition::Unchanged(first)).await);
        let (text, version) = store.get_version(object).await.expect("there");
        assert_eq!((text, version), (Bytes::from_static(b"2"), second.clone()));
        // Of many who saw the same state one is first.
        let racing =
            (0..8).map(|nth| put(format!("race {nth}"), Condition::Unchanged(second.clone())));
        let results = futures_util::future::join_all(racing).await;
        let won: Vec<_> = results.iter().filter(|result| result.is_ok()).collect();
        assert_eq!(won.len(), 1, "{results:?}");
        let (_, version) = store.get_version(object).await.expect("there");
        assert_eq!(won[0].as_ref().ok(), Some(&version));
    }

    #[tokio::test]
    async fn memory_fences() {
        fences(&Store::memory()).await;
    }

    #[tokio::test]
    async fn a_directory_says_that_it_does_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::local(dir.path()).expect("a store");
        let published = spool::Published {
            object: "a/b".to_owned(),
            text: Bytes::new(),
            max_age_s: 0,
        };
        let written = store.publish(&published, Condition::Absent).await;
        assert!(
            matches!(written, Err(Error::Unconditional { .. })),
            "{written:?}"
        );
    }

    /// A store in a cloud does all of it, and signs URLs.
    async fn cloud_conforms(remote: &Remote) {
        let store = Store::remote(remote).expect("a store");
        conforms(&store).await;
        arrives(&store).await;
        fences(&store).await;
        let object = "a/b/1/recording.jsonl";
        let urls = SignedUrls::new(remote, std::time::Duration::from_secs(60)).await;
        let url = urls.expect("it signs").sign(object, signed::Ask::Get).await;
        let mut curl = std::process::Command::new("curl");
        let output = curl.args(["-s", "-f", &url.expect("a URL")]).output();
        assert_eq!(output.expect("curl is there").stdout, b"{}\n");
        store.delete_all(&[object.to_owned()]).await.expect("gone");
        let gone = store.get(object).await;
        assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
    }

    fn variable(name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    /// SeaweedFS, started by `scripts/s3-test.sh`, which sets where it is.
    #[tokio::test]
    #[ignore = "needs an S3 server: run scripts/s3-test.sh"]
    async fn s3_conforms() {
        let bucket = variable("S3_BUCKET").expect("a bucket");
        cloud_conforms(&Remote {
            url: format!("s3://{bucket}/conformance"),
            endpoint: variable("S3_ENDPOINT"),
            region: Some("us-east-1".to_owned()),
            path_style: true,
            access_key_id: variable("S3_KEY"),
            secret_access_key: variable("S3_SECRET"),
        })
        .await;
    }

    /// Azurite, started by `scripts/az-test.sh`; or any store that the usual variables let us into.
    #[tokio::test]
    #[ignore = "needs a store: run scripts/az-test.sh, or set STORE_URL to gs://… or az://…"]
    async fn another_cloud_conforms() {
        cloud_conforms(&Remote {
            url: variable("STORE_URL").expect("a URL"),
            ..Remote::default()
        })
        .await;
    }

    #[test]
    fn urls_of_stores_are_known_or_refused() {
        let open = |url: &str| {
            Store::remote(&Remote {
                url: url.to_owned(),
                region: Some("r".to_owned()),
                ..Remote::default()
            })
        };
        assert!(open("s3://bucket").is_ok());
        assert!(open("s3://bucket/a/b").is_ok());
        for bad in ["", "bucket", "ftp://bucket", "s3:bucket"] {
            let error = open(bad).expect_err(bad);
            assert!(matches!(error, Error::Scheme { .. }), "{bad}: {error}");
        }
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
