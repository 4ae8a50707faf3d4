//! A store whose writer panics: the server ends, and says why.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use serde_json::json;
use storage::disk::{Disk, DiskFile, NullDisk};
use storage::{EmbeddedOptions, EmbeddedStore};
use writes::admission::Chain;

use super::{Client, no_nodes};
use crate::start::{Store, own_sources};

/// Keeps nothing, and panics when it is written to once it is told to.
#[derive(Clone, Default)]
struct Panicking(Arc<AtomicBool>);

impl Disk for Panicking {
    fn list(&self) -> io::Result<Vec<String>> {
        NullDisk.list()
    }
    fn create(&self, _: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(self.clone()))
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        NullDisk.open(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        NullDisk.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        NullDisk.remove(name)
    }
    fn sync_directory(&self) -> io::Result<()> {
        NullDisk.sync_directory()
    }
}

impl DiskFile for Panicking {
    fn length(&self) -> io::Result<u64> {
        NullDisk.length()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        NullDisk.read_at(offset, buffer)
    }
    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        assert!(!self.0.load(Ordering::SeqCst), "the disk is gone");
        Ok(())
    }
    fn truncate(&self, length: u64) -> io::Result<()> {
        NullDisk.truncate(length)
    }
    fn sync(&self) -> io::Result<()> {
        NullDisk.sync()
    }
}

#[tokio::test]
async fn a_panic_of_the_stores_writer_fails_the_write_and_ends_the_server_with_its_name() {
    let disk = Panicking::default();
    let store = EmbeddedStore::open(Arc::new(disk.clone()), EmbeddedOptions::default()).expect("opens");
    let mut client =
        Client::over(Store::Open(Arc::new(store)), Box::new(own_sources), Chain::default(), no_nodes()).await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    disk.0.store(true, Ordering::SeqCst);
    let (code, answer) =
        client.send(Method::POST, "/api/v1/namespaces/default/configmaps", "application/json", map).await;
    assert_eq!(code, 503, "{answer}");
    // Much less than what tasks that do not end by themselves are given.
    let failed = tokio::time::timeout(Duration::from_secs(10), client.running.failed()).await.expect("it ends");
    let text = format!("{failed:#}");
    assert!(text.contains("the task store panicked: store-writer panicked: the disk is gone"), "{text}");
}
