//! What only the etcd engine promises: healing when etcd goes and comes back, TLS, several endpoints.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

extern crate ferry_storage as storage;

mod common;

use bytes::Bytes;
use common::{EtcdServer, create, etcd_binary, events};
use storage::{Error, EtcdConfig, EtcdStore, Expect, Storage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_goes_and_comes_back_is_taken_up_again() {
    let Some(binary) = etcd_binary() else { return };
    let (mut server, store) = EtcdServer::start_with(binary, "http", Vec::new(), |url| EtcdConfig::new([url])).await;
    create(&store, "/a", "1").await;
    let mut watch = store.watch("/", 1).await.unwrap();
    events(&mut watch, 1).await;

    server.kill();
    assert!(matches!(store.get("/a").await, Err(Error::Unavailable(_))));
    assert!(matches!(store.revision().await, Err(Error::Unavailable(_))));
    let put = store.put("/b", Bytes::new(), Expect::Absent, None).await;
    assert!(matches!(put, Err(Error::Unavailable(_))), "{put:?}");

    server.start_again();
    let again = tokio::time::timeout(common::PATIENCE, async {
        loop {
            match store.put("/b", Bytes::new(), Expect::Absent, None).await {
                Ok(outcome) => break outcome,
                Err(Error::Unavailable(_)) => tokio::task::yield_now().await,
                Err(other) => panic!("{other}"),
            }
        }
    });
    let revision = common::done(Ok(again.await.unwrap()));
    // The watch opened before goes on where it was.
    assert_eq!(events(&mut watch, 1).await[0].revision, revision);
    assert_eq!(store.get("/a").await.unwrap().0.unwrap().value, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_gone_is_passed_over() {
    let Some(binary) = etcd_binary() else { return };
    let server = EtcdServer::start(binary).await;
    // A port that nobody listens on, first in the list.
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let store = EtcdStore::connect(EtcdConfig::new([format!("http://{dead}"), server.url()])).await.unwrap();
    for i in 0..10 {
        create(&store, &format!("/{i}"), "").await;
    }
    assert_eq!(events(&mut store.watch("/", 1).await.unwrap(), 10).await.len(), 10);
}

#[tokio::test]
async fn an_etcd_that_is_not_there_is_an_error_that_says_so() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let Err(Error::Unavailable(reason)) = EtcdStore::connect(EtcdConfig::new([format!("http://{dead}")])).await else {
        panic!("connected to nothing")
    };
    assert!(reason.contains("refused"), "{reason}");
    for endpoints in [vec![], vec!["nonsense url".to_owned()], vec!["https://127.0.0.1:1".to_owned()]] {
        assert!(EtcdStore::connect(EtcdConfig::new(endpoints)).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_a_client_certificate() {
    let Some(binary) = etcd_binary() else { return };
    let pki = tempfile::tempdir().unwrap();
    let path = |name: &str| pki.path().join(name);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(vec![]).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    std::fs::write(path("ca.crt"), ca_certificate.pem()).unwrap();
    for name in ["server", "client"] {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        std::fs::write(path(&format!("{name}.crt")), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        std::fs::write(path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    let flag = |name: &str, file: &str| format!("--{name}={}", path(file).display());
    let extra = vec![
        flag("cert-file", "server.crt"),
        flag("key-file", "server.key"),
        flag("trusted-ca-file", "ca.crt"),
        "--client-cert-auth".to_owned(),
    ];
    let with = |url: String| EtcdConfig {
        ca_file: Some(path("ca.crt")),
        cert_file: Some(path("client.crt")),
        key_file: Some(path("client.key")),
        ..EtcdConfig::new([url])
    };
    let (server, store) = EtcdServer::start_with(binary, "https", extra, with).await;
    create(&store, "/a", "1").await;
    assert_eq!(events(&mut store.watch("/", 1).await.unwrap(), 1).await[0].value, "1");
    let without = EtcdConfig { cert_file: None, key_file: None, ..with(server.url()) };
    assert!(EtcdStore::connect(without).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_servers_agree_on_who_compacts() {
    let Some(binary) = etcd_binary() else { return };
    let server = EtcdServer::start(binary).await;
    let stores: Vec<std::sync::Arc<dyn Storage>> = vec![
        std::sync::Arc::new(EtcdStore::connect(EtcdConfig::new([server.url()])).await.unwrap()),
        std::sync::Arc::new(EtcdStore::connect(EtcdConfig::new([server.url()])).await.unwrap()),
    ];
    let first = create(&*stores[0], "/a", "").await;
    let cancel = tokio_util::sync::CancellationToken::new();
    let tasks: Vec<_> = stores
        .iter()
        .map(|store| {
            let interval = std::time::Duration::from_millis(50);
            tokio::spawn(storage::compact_every(interval, store.clone(), cancel.clone()))
        })
        .collect();
    let then = storage::RangeOptions { revision: Some(first), ..Default::default() };
    let compacted = async {
        while stores[0].range("/", then.clone()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(common::PATIENCE, compacted).await.unwrap();
    assert!(matches!(stores[1].range("/", then).await, Err(Error::Compacted { .. })));
    // Upstream's key holds the revision that was compacted, for upstream's apiservers to see.
    let key = stores[1].get("compact_rev_key").await.unwrap().0.unwrap();
    assert!(std::str::from_utf8(&key.value).unwrap().parse::<i64>().unwrap() >= first);
    cancel.cancel();
    for task in tasks {
        task.await.unwrap();
    }
}
