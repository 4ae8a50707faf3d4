//! A replicated store of several members on real sockets, with certificates of an authority of its own.
#![allow(dead_code, missing_docs, clippy::unwrap_used)] // each test binary uses its part; helpers of tests are tests

use std::sync::Arc;
use std::time::{Duration, Instant};

use component::tls::pki::{Ca, Leaf};
use raft::tls::{Credentials, Pem, TlsNetwork};
use raft::{Options, RaftStore, Times};
use storage::EmbeddedOptions;
use storage::disk::RealDisk;

use crate::common::PATIENCE;

/// Signs members' certificates.
pub struct Authority(Ca);

impl Authority {
    pub fn new() -> Self {
        Self(Ca::new("store", time::OffsetDateTime::now_utc()).unwrap())
    }

    /// A member's, on this machine.
    pub fn pem(&self) -> Pem {
        let leaf = Leaf {
            common_name: "member".to_owned(),
            sans: vec!["127.0.0.1".to_owned()],
            client: true,
            server: true,
            ..Leaf::default()
        };
        let pair = self.0.sign(&leaf, time::OffsetDateTime::now_utc()).unwrap();
        Pem {
            ca: self.0.pair().cert_pem.clone().into_bytes(),
            certificate: pair.cert_pem.into_bytes(),
            key: pair.key_pem.into_bytes(),
        }
    }
}

/// See the module.
pub struct Sockets {
    pub authority: Authority,
    pub stores: Vec<Arc<RaftStore>>,
    pub addresses: Vec<String>,
    credentials: Arc<dyn Credentials>,
    directories: Vec<tempfile::TempDir>,
}

impl Sockets {
    pub async fn start(count: usize) -> Self {
        let authority = Authority::new();
        let credentials = Arc::new(authority.pem());
        Self { authority, ..Self::over(count, credentials).await }
    }

    pub async fn over(count: usize, credentials: Arc<dyn Credentials>) -> Self {
        let mut sockets = Self {
            authority: Authority::new(),
            stores: Vec::new(),
            addresses: Vec::new(),
            credentials,
            directories: Vec::new(),
        };
        for _ in 0..count {
            sockets.add().await;
        }
        for store in &sockets.stores {
            let began = Instant::now();
            loop {
                let status = store.status().await;
                if status.leader.is_some() && status.members.iter().filter(|member| member.voter).count() == count {
                    break;
                }
                assert!(began.elapsed() < PATIENCE, "{status:?}");
                tokio::time::sleep(Duration::from_millis(10)).await; // between looks, not instead of them
            }
        }
        sockets
    }

    async fn add(&mut self) {
        let directory = tempfile::tempdir().unwrap();
        let network = TlsNetwork::bind("127.0.0.1:0".parse().unwrap(), self.credentials.clone()).await.unwrap();
        let options = Options {
            storage: EmbeddedOptions::default(),
            times: Times::default(),
            advertise: network.address().to_string(),
            join: self.addresses.clone(),
        };
        self.addresses.push(options.advertise.clone());
        let disk = Arc::new(RealDisk::open(directory.path()).unwrap());
        self.stores.push(Arc::new(RaftStore::open(disk, Arc::new(network), options).await.unwrap()));
        self.directories.push(directory);
    }

    /// What a new connection is made with now.
    pub fn files_pem(&self) -> Pem {
        self.credentials.load().unwrap()
    }
}
