//! Members that speak over TLS on real sockets: the contract of every engine, and who is not let in.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

extern crate ferry_raft as raft;

#[path = "../../storage/tests/common/mod.rs"]
mod common;

#[path = "cluster/sockets.rs"]
mod sockets;

use std::sync::Arc;
use std::time::Duration;

use common::contract::Store;
use common::{PATIENCE, create, done};
use raft::tls::{Credentials, Files, TlsNetwork};
use raft::{Lane, Network};
use sockets::{Authority, Sockets};
use storage::{Expect, Storage};

async fn three() -> Option<(Sockets, Store)> {
    let sockets = Sockets::start(3).await;
    let store = sockets.stores[1].clone();
    Some((sockets, store))
}

contract!(sockets_of_three, super::three());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_certificate_of_the_authority_is_not_heard() {
    let sockets = Sockets::start(1).await;
    let stranger = TlsNetwork::bind("127.0.0.1:0".parse().unwrap(), Arc::new(Authority::new().pem())).await.unwrap();
    let asked = stranger.ask(&sockets.addresses[0], Lane::Log, "anything".into());
    let answer = tokio::time::timeout(PATIENCE, asked).await.expect("it ends");
    assert!(answer.is_err(), "{answer:?}");
    // And with the right ones, what is no question ends the matter without an answer.
    let member = TlsNetwork::bind("127.0.0.1:0".parse().unwrap(), Arc::new(sockets.authority.pem())).await.unwrap();
    let asked = member.ask(&sockets.addresses[0], Lane::Log, "anything".into());
    assert!(tokio::time::timeout(Duration::from_secs(2), asked).await.is_err(), "there is no answer to that");
    create(&*sockets.stores[0], "/it/goes/on", "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_replaced_without_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let write = |authority: &Authority| {
        let pem = authority.pem();
        std::fs::write(path("ca"), &pem.ca).unwrap();
        std::fs::write(path("cert"), &pem.certificate).unwrap();
        std::fs::write(path("key"), &pem.key).unwrap();
    };
    write(&Authority::new());
    let files: Arc<dyn Credentials> = Arc::new(Files { ca: path("ca"), certificate: path("cert"), key: path("key") });
    let sockets = Sockets::over(2, files).await;
    create(&*sockets.stores[1], "/before", "").await;
    // Another authority altogether: only connections that are made with its certificates work with each other.
    write(&Authority::new());
    let asker = TlsNetwork::bind("127.0.0.1:0".parse().unwrap(), Arc::new(sockets.files_pem())).await.unwrap();
    let asked = asker.ask(&sockets.addresses[0], Lane::Log, "anything".into());
    assert!(tokio::time::timeout(Duration::from_secs(2), asked).await.is_err(), "it is heard, and not answered");
    done(sockets.stores[0].put("/after", "".into(), Expect::Absent, None).await);
}
