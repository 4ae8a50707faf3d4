//! The endpoints: what a request that passed the filters is answered by. One file a verb, resources that store nothing
//! (`virtual_`), streams to nodes and pods (`connect`), and the documents that describe it all (`discovery`, `openapi`). What
//! there is to be served they ask of the route sources (`sources`).
//!
//! It turns HTTP into the steps of `writes` and reads of the caches, and back. It must not know how a request came to be
//! authenticated, limited or audited, nor who listens.

use std::sync::Arc;

use access::authn::Authenticator;
use access::authn::bearer::Tokens;
use access::authn::service_account::Issuer;
use access::authz::Authorizer;
use access::authz::rbac::Rbac;
use tokio_util::sync::CancellationToken;
use writes::Registry;

use crate::metrics::Metrics;

mod apply;
mod collection;
pub mod connect;
pub mod continue_token;
mod create;
mod delete;
pub mod discovery;
mod dispatch;
mod general;
mod get;
mod health;
mod list;
pub mod metrics;
pub mod openapi;
mod patch;
mod pieces;
mod respond;
mod scale;
mod snapshot;
pub mod sources;
mod update;
pub mod virtual_;
mod watch;

pub use dispatch::{Call, dispatch};

/// Everything that serving a request needs.
pub struct Server {
    /// All resources.
    pub registry: Arc<Registry>,
    /// Where the groups' versions that are served come from.
    pub sources: sources::Sources,
    /// Who asks.
    pub authenticator: Arc<dyn Authenticator>,
    /// May they.
    pub authorizer: Arc<dyn Authorizer>,
    /// The rights that users hold, for rule reviews.
    pub rbac: Arc<Rbac>,
    /// Bearer tokens, for token reviews.
    pub tokens: Arc<Tokens>,
    /// The issuer of service account tokens, where there is one.
    pub issuer: Option<Arc<Issuer>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// OpenAPI documents, as far as they were asked for.
    pub openapi: openapi::Documents,
    /// How kubelets are reached, for logs, exec, attach and port-forward.
    pub nodes: connect::Nodes,
    /// Whether the server is ready for traffic: bootstrap is done, it is not draining.
    pub ready: Arc<std::sync::atomic::AtomicBool>,
    /// The most that a request which is not long-running may take.
    pub request_timeout: std::time::Duration,
    /// Told to end: no longer ready, though what comes is still served for a while.
    pub draining: CancellationToken,
}

impl Server {
    /// Whether the server was told to end.
    pub fn draining(&self) -> bool {
        self.draining.is_cancelled()
    }
}
