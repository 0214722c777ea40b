//! JetStream's Object Store with its defaults: pieces of 128 KiB in a stream of one replica on files.

use anyhow::{Result, ensure};
use async_nats::jetstream::{self, object_store};
use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::runtime::Runtime;

use crate::process::Server;

const OBJECT: &str = "object";

/// A bucket and its user.
pub struct Bucket {
    runtime: Runtime,
    store: object_store::ObjectStore,
    object: Bytes,
    /// What was read last.
    got: Vec<u8>,
}

impl Bucket {
    /// Makes the bucket.
    pub fn of(nats: &Server, object: Bytes) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let store = runtime.block_on(async {
            let client = async_nats::connect(format!("nats://{}", nats.addr)).await?;
            let config = object_store::Config { bucket: "bench".to_owned(), ..object_store::Config::default() };
            Ok::<_, anyhow::Error>(jetstream::new(client).create_object_store(config).await?)
        })?;
        let got = Vec::with_capacity(object.len());
        Ok(Bucket { runtime, store, object, got })
    }

    /// Puts the object over the one before.
    pub fn put(&self) -> Result<()> {
        let put = self.runtime.block_on(self.store.put(OBJECT, &mut &self.object[..]))?;
        ensure!(put.size == self.object.len(), "{} bytes were put", put.size);
        Ok(())
    }

    /// Reads it.
    pub fn get(&mut self) -> Result<()> {
        let Bucket { runtime, store, object, got } = self;
        got.clear();
        runtime.block_on(async { Ok::<_, anyhow::Error>(store.get(OBJECT).await?.read_to_end(got).await?) })?;
        ensure!(got.len() == object.len(), "{} bytes came", got.len());
        Ok(())
    }
}
