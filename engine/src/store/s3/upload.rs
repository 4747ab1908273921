//! An object that goes out in parts.

use bytes::Bytes;
use opendal::Writer;

use super::conditional::{CONFLICTS, CONFLICTS_MAX, part_options};
use super::part::Part;
use super::{RETRY_FIRST_PAUSE, S3Store};
use crate::store::{Created, Error};

/// It appears when the last call says so, or not at all.
pub(in crate::store) struct S3Upload {
    store: S3Store,
    key: String,
    token: String,
    /// `None` while a write is under way: one that is abandoned or fails leaves the upload broken for good, for the
    /// writer's buffer may have lost bytes.
    writer: Option<Writer>,
    filling: Part,
    size: u64,
}

impl S3Upload {
    pub(in crate::store) async fn begin(store: &S3Store, key: &str) -> Result<Self, Error> {
        let token = uuid::Uuid::new_v4().to_string();
        let writer = store.operator.writer_options(key, part_options(&token)).await;
        let writer = writer.map_err(|error| store.error(key, &error))?;
        let (store, key) = (store.clone(), key.to_owned());
        Ok(Self { store, key, token, writer: Some(writer), filling: Part::default(), size: 0 })
    }

    pub(in crate::store) async fn write(&mut self, pieces: Vec<Bytes>) -> Result<(), Error> {
        if self.writer.is_none() {
            return Err(self.store.place(&self.key).broken());
        }
        for mut piece in pieces {
            self.size += piece.len() as u64;
            while !piece.is_empty() {
                if let Some(part) = self.filling.fill(&mut piece) {
                    self.send(part).await?;
                }
            }
        }
        Ok(())
    }

    async fn send(&mut self, part: Bytes) -> Result<(), Error> {
        let mut writer = self.writer.take().ok_or_else(|| self.store.place(&self.key).broken())?;
        if let Err(error) = writer.write(part).await {
            let error = self.store.error(&self.key, &error);
            abort(writer).await;
            // The store cannot lack what is only being written.
            return Err(if error.is_not_found() {
                self.store.place(&self.key).unavailable("the store has lost the upload")
            } else {
                error
            });
        }
        self.writer = Some(writer);
        Ok(())
    }

    pub(in crate::store) async fn finish(mut self) -> Result<u64, Error> {
        if !self.filling.is_empty() {
            let last = self.filling.take();
            self.send(last).await?;
        }
        let mut writer = self.writer.take().ok_or_else(|| self.store.place(&self.key).broken())?;
        let error = match self.complete(&mut writer).await {
            Ok(Some(Created::New)) => return Ok(self.size),
            Ok(Some(Created::AlreadyThere)) => self.store.place(&self.key).conflict(),
            Ok(None) => self.store.place(&self.key).unavailable(CONFLICTS),
            Err(error) => error,
        };
        abort(writer).await;
        Err(error)
    }

    /// Completes the upload, again while other conditional writes of its key are under way.
    async fn complete(&self, writer: &mut Writer) -> Result<Option<Created>, Error> {
        for attempt in 0..CONFLICTS_MAX {
            let closed = writer.close().await.map(drop);
            if let Some(created) = self.store.settle(&self.key, &self.token, closed).await?.created() {
                return Ok(Some(created));
            }
            tokio::time::sleep(RETRY_FIRST_PAUSE * 2_u32.pow(attempt)).await;
        }
        Ok(None)
    }

    pub(in crate::store) async fn abort(mut self) {
        if let Some(writer) = self.writer.take() {
            abort(writer).await;
        }
    }
}

impl Drop for S3Upload {
    fn drop(&mut self) {
        // Nothing can be seen of the parts, but they are paid for until a lifecycle rule or this removes them.
        if let (Some(writer), Ok(runtime)) = (self.writer.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(abort(writer));
        }
    }
}

async fn abort(mut writer: Writer) {
    if let Err(error) = writer.abort().await {
        tracing::debug!(kind = %error.kind(), "an unfinished upload could not be aborted");
    }
}

#[cfg(test)]
mod tests;
