//! A store that fails on purpose, around any other. For tests: what happens when an answer is lost,
//! when a third of all requests fail, when everything stops between two operations?

use super::Store;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryFutureExt};
use object_store::path::Path as Name;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// Every so manieth request is answered with a failure and not carried out; 0 for none.
    pub refuse_every: u64,
    /// Every so manieth request is carried out and answered with a failure; 0 for none.
    pub lose_answer_every: u64,
    /// Conditional writes are refused as unknown.
    pub no_conditions: bool,
    /// How long each request takes.
    pub delay: Duration,
    /// From the request with this number on nothing is answered any more, and nothing done.
    pub stop_at: Option<u64>,
    /// The request with this number is the last that is carried out; it is not answered either.
    pub stop_after: Option<u64>,
}

impl Store {
    /// This store, with faults; also the number of requests so far. Each object of a deletion counts:
    /// a store may be through with half of what one request names.
    pub fn failing(&self, faults: Faults) -> (Self, Arc<AtomicU64>) {
        let requests = Arc::new(AtomicU64::new(0));
        let failing = Failing {
            inner: self.objects.clone(),
            faults,
            requests: requests.clone(),
        };
        (Self::new(Arc::new(failing)), requests)
    }
}

#[derive(Clone, Debug)]
struct Failing {
    inner: Arc<dyn ObjectStore>,
    faults: Faults,
    requests: Arc<AtomicU64>,
}

impl Failing {
    /// Before a request: waits, fails or never returns. The number of the request otherwise.
    async fn before(&self) -> Result<u64> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let stopped = self.faults.stop_at.is_some_and(|stop| number >= stop);
        if stopped || self.faults.stop_after.is_some_and(|stop| number > stop) {
            std::future::pending::<()>().await;
        }
        if !self.faults.delay.is_zero() {
            tokio::time::sleep(self.faults.delay).await;
        }
        match hits(number, self.faults.refuse_every) {
            true => Err(failure("the request was refused")),
            false => Ok(number),
        }
    }

    /// After it: the answer may be lost.
    async fn after<T>(&self, number: u64, answer: T) -> Result<T> {
        if self.faults.stop_after.is_some_and(|stop| number >= stop) {
            std::future::pending::<()>().await;
        }
        match hits(number, self.faults.lose_answer_every) {
            true => Err(failure("the answer was lost")),
            false => Ok(answer),
        }
    }
}

fn hits(number: u64, every: u64) -> bool {
    every > 0 && number.is_multiple_of(every)
}

fn failure(what: &'static str) -> object_store::Error {
    object_store::Error::Generic {
        store: "failing on purpose",
        source: what.into(),
    }
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with faults", self.inner)
    }
}

#[async_trait::async_trait]
impl ObjectStore for Failing {
    async fn put_opts(
        &self,
        at: &Name,
        load: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let number = self.before().await?;
        if self.faults.no_conditions && !matches!(options.mode, PutMode::Overwrite) {
            return Err(object_store::Error::NotImplemented {
                operation: "a conditional write".to_owned(),
                implementer: "failing on purpose".to_owned(),
            });
        }
        let answer = self.inner.put_opts(at, load, options).await?;
        self.after(number, answer).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Name,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let number = self.before().await?;
        let answer = self.inner.put_multipart_opts(at, options).await?;
        self.after(number, answer).await
    }

    async fn get_opts(&self, at: &Name, options: GetOptions) -> Result<GetResult> {
        let number = self.before().await?;
        let answer = self.inner.get_opts(at, options).await?;
        self.after(number, answer).await
    }

    async fn get_ranges(&self, at: &Name, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let number = self.before().await?;
        let answer = self.inner.get_ranges(at, ranges).await?;
        self.after(number, answer).await
    }

    fn delete_stream(
        &self,
        names: BoxStream<'static, Result<Name>>,
    ) -> BoxStream<'static, Result<Name>> {
        let failing = self.clone();
        let delete = move |name: Result<Name>| {
            let failing = failing.clone();
            async move {
                let name = name?;
                let number = failing.before().await?;
                failing.inner.delete(&name).await?;
                failing.after(number, name).await
            }
        };
        names.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Name>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (failing, prefix) = (self.clone(), prefix.cloned());
        let begin = async move {
            let number = failing.before().await?;
            let listed = failing.inner.list(prefix.as_ref());
            failing.after(number, listed).await
        };
        begin.try_flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Name>) -> Result<ListResult> {
        let number = self.before().await?;
        let answer = self.inner.list_with_delimiter(prefix).await?;
        self.after(number, answer).await
    }

    async fn copy_opts(&self, from: &Name, to: &Name, options: CopyOptions) -> Result<()> {
        let number = self.before().await?;
        self.inner.copy_opts(from, to, options).await?;
        self.after(number, ()).await
    }
}
