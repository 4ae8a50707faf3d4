//! The real API server in this process, on an in-memory store, with RBAC and the default admission plugins.

use std::sync::Arc;

use access::authn::bearer::Tokens;
use access::authn::union::Union as Authenticators;
use access::authz::Authorizer;
use access::authz::rbac::Rbac;
use access::authz::union::Union as Authorizers;
use admission::chain::{self, Parts};
use apiserver::bootstrap::{self, Facts};
use apiserver::command::kubelet_client;
use apiserver::start::{Access, Config, Running, Store, own_sources, start};
use endpoints::connect::Nodes;
use model::lookup::Lookup;
use model::user::UserInfo;
use tokio_util::sync::CancellationToken;
use writes::Registry;

use crate::Caller;

/// A server that runs until it is dropped.
pub struct Cluster {
    running: Running,
    cancel: CancellationToken,
}

impl Cluster {
    /// Starts a server and waits until its bootstrap is done.
    pub async fn start() -> anyhow::Result<Self> {
        let cancel = CancellationToken::new();
        let tls = kubelet_client(None, None)?;
        let config = Config {
            store: Store::Memory,
            listen: None,
            access: Box::new(access),
            sources: Box::new(own_sources),
            nodes: Nodes { tls: tls.clone(), backend_tls: tls, address_types: vec!["InternalIP".to_owned()] },
            times: Default::default(),
            max_requests_inflight: 400,
            max_mutating_requests_inflight: 200,
            bootstrap: Box::new(|registry| {
                Box::pin(async move {
                    let facts = Facts { client_ca: None, request_header: None, kubelet_client: None, service: None };
                    bootstrap::run(&registry, &facts).await
                })
            }),
            presence: None,
            leaving: Default::default(),
        };
        let running = start(config, cancel.clone()).await?;
        running.ready().await;
        Ok(Self { running, cancel })
    }

    /// Forgets history up to now, as the compactor does in time.
    pub async fn compact(&self) -> anyhow::Result<()> {
        let storage = self.running.server.registry.storage();
        storage.compact(storage.revision().await?).await?;
        Ok(())
    }

    /// A client with that identity.
    pub fn caller(&self, user: &str, groups: &[&str]) -> Caller {
        let groups = groups.iter().map(|g| (*g).to_owned()).collect();
        let identity = UserInfo { name: user.to_owned(), groups, ..UserInfo::default() };
        let listener = Arc::new(self.running.in_process(identity));
        let connect = move || {
            let listener = listener.clone();
            async move { listener.connect().await }
        };
        Caller::new(client::over_stream(connect, "testkit"))
    }

    /// Where a client in another process reaches the server as an administrator: plain HTTP on loopback. It must be called
    /// inside a tokio runtime, and lasts as long as that.
    pub async fn loopback(&self) -> anyhow::Result<std::net::SocketAddr> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let identity = UserInfo { name: "admin".into(), groups: vec!["system:masters".into()], ..UserInfo::default() };
        let inner = Arc::new(self.running.in_process(identity));
        component::supervisor::detached("loopback", async move {
            while let Ok((mut outer, _)) = listener.accept().await {
                let inner = inner.clone();
                component::supervisor::detached("loopback connection", async move {
                    let mut inner = inner.connect().await?;
                    tokio::io::copy_bidirectional(&mut outer, &mut inner).await
                });
            }
        });
        Ok(address)
    }

    /// A client that may do everything.
    pub fn admin(&self) -> Caller {
        self.caller("admin", &["system:masters"])
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn access(registry: &Arc<Registry>) -> anyhow::Result<Access> {
    let lookup: Arc<dyn Lookup> = registry.clone();
    let rbac = Arc::new(Rbac::new(lookup));
    let authorizer: Arc<dyn Authorizer> = Arc::new(Authorizers::new(vec![rbac.clone()]));
    let parts = Parts { authorizer: authorizer.clone(), rbac: rbac.clone(), tolerations: Default::default() };
    Ok(Access {
        authenticator: Arc::new(Authenticators::default()),
        authorizer,
        admission: chain::build(&[], &[], &parts).map_err(anyhow::Error::msg)?,
        rbac,
        tokens: Arc::new(Tokens::new(Vec::new(), Vec::new())),
        issuer: None,
    })
}
