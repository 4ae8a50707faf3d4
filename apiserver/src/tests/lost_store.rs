//! A store whose writer panics: the server ends, and says why.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use serde_json::json;
use storage::disk::{HookedDisk, NullDisk, Step};
use storage::{EmbeddedOptions, EmbeddedStore};
use writes::admission::Chain;

use super::{Client, no_nodes};
use crate::start::{Store, own_sources};

#[tokio::test]
async fn a_panic_of_the_stores_writer_fails_the_write_and_ends_the_server_with_its_name() {
    let gone = Arc::new(AtomicBool::new(false));
    let told = gone.clone();
    let disk = HookedDisk::new(NullDisk, move |step| {
        assert!(step != Step::Write || !told.load(Ordering::SeqCst), "the disk is gone");
    });
    let store = EmbeddedStore::open(Arc::new(disk), EmbeddedOptions::default()).expect("opens");
    let mut client =
        Client::over(Store::Open(Arc::new(store)), Box::new(own_sources), Chain::default(), no_nodes()).await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    gone.store(true, Ordering::SeqCst);
    let (code, answer) =
        client.send(Method::POST, "/api/v1/namespaces/default/configmaps", "application/json", map).await;
    assert_eq!(code, 503, "{answer}");
    // Much less than what tasks that do not end by themselves are given.
    let failed = tokio::time::timeout(Duration::from_secs(10), client.running.failed()).await.expect("it ends");
    let text = format!("{failed:#}");
    assert!(text.contains("the task store panicked: store-writer panicked: the disk is gone"), "{text}");
}
