//! What every engine promises, checked on each of them: the embedded one on a real directory, and a real etcd. The replicated
//! one is checked beside itself (`crates/raft/tests/contract.rs`).

#![allow(clippy::unwrap_used)] // helpers of tests are tests

extern crate ferry_storage as storage;

mod common;

use std::sync::Arc;

use common::contract::Store;
use common::{EtcdServer, etcd_binary};
use storage::{EmbeddedStore, EtcdConfig};

async fn embedded() -> Option<(tempfile::TempDir, Store)> {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open_directory(directory.path()).unwrap();
    Some((directory, Arc::new(store)))
}

async fn etcd() -> Option<(EtcdServer, Store)> {
    let binary = etcd_binary()?;
    let (server, store) = EtcdServer::start_with(binary, "http", Vec::new(), |url| EtcdConfig::new([url])).await;
    Some((server, Arc::new(store)))
}

contract!(embedded, super::embedded());
contract!(etcd, super::etcd());
