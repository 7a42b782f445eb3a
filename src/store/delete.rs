//! Removes objects: many in one request where the store can.

use super::{Error, Store, error, name};
use futures_util::StreamExt;
use futures_util::stream;

impl Store {
    /// Removes objects; one that is not there is as good as removed.
    pub async fn delete_all(&self, objects: &[String]) -> Result<(), Error> {
        let names = objects.iter().map(|object| name(object));
        let names = names.collect::<Result<Vec<_>, _>>()?;
        let mut gone = self
            .objects
            .delete_stream(stream::iter(names.into_iter().map(Ok)).boxed());
        while let Some(one) = gone.next().await {
            match one {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => {
                    let first = objects.first().map_or("", String::as_str);
                    return Err(error("remove", first)(source));
                }
            }
        }
        Ok(())
    }
}
