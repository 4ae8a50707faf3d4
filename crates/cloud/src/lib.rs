//! What a cloud does for its cluster, and the controller that has it balance load: the one place where controllers meet a
//! cloud. There is no cloud unless one is given.
//!
//! Upstream: `k8s.io/cloud-provider`. As its v1.36 has it, the flag `--cloud-provider=external` gives none: the cloud's own
//! program runs these controllers then. They are here for a program that brings a cloud along.
//!
//! What it must **not** know: any cloud, how addresses are chosen or announced.

pub mod services;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use controller::{Queue, key::Key};
use k8s_openapi::api::core::v1::{LoadBalancerStatus, Node, NodeAddress, Service};

/// A cloud. What it can't do is none.
pub trait Cloud: Send + Sync {
    /// Its machines.
    fn instances(&self) -> Option<Arc<dyn Instances>> {
        None
    }
    /// Its load balancers.
    fn load_balancers(&self) -> Option<Arc<dyn LoadBalancers>> {
        None
    }
    /// Its routes.
    fn routes(&self) -> Option<Arc<dyn Routes>> {
        None
    }
}

/// The machines that nodes run on.
#[async_trait]
pub trait Instances: Send + Sync {
    /// Whether the node's machine is there, running or not.
    ///
    /// # Errors
    /// The cloud does not say.
    async fn exists(&self, node: &Node) -> anyhow::Result<bool>;

    /// Whether it was shut down.
    ///
    /// # Errors
    /// The cloud does not say.
    async fn is_shut_down(&self, node: &Node) -> anyhow::Result<bool>;
}

/// Why a load balancer is not as wanted.
#[derive(Debug)]
pub enum Failure {
    /// Somebody else does it.
    Elsewhere,
    /// To be tried again after a time that the cloud knows.
    Later(Duration, String),
    /// To be tried again.
    Failed(String),
}

/// The load balancers of Services.
#[async_trait]
pub trait LoadBalancers: Send + Sync {
    /// Whether a Service of type LoadBalancer is this cloud's. One with a class is somebody else's, as upstream has it,
    /// unless the cloud knows the class for its own.
    fn serves(&self, service: &Service) -> bool {
        service.spec.as_ref().is_none_or(|spec| spec.load_balancer_class.is_none())
    }

    /// Puts into the queue which Services it wants to make again, since something else than they and the nodes has changed.
    fn follow(&self, _queue: &Queue<Key>) {}

    /// Whether the Service has one.
    ///
    /// # Errors
    /// The cloud does not say.
    async fn exists(&self, cluster: &str, service: &Service) -> anyhow::Result<bool>;

    /// Makes it, or makes it as the Service wants it.
    ///
    /// # Errors
    /// It could not.
    async fn ensure(
        &self,
        cluster: &str,
        service: &Service,
        nodes: &[Arc<Node>],
    ) -> Result<LoadBalancerStatus, Failure>;

    /// Gives it other nodes.
    ///
    /// # Errors
    /// It could not.
    async fn update(&self, cluster: &str, service: &Service, nodes: &[Arc<Node>]) -> Result<(), Failure>;

    /// Deletes it, if it is there.
    ///
    /// # Errors
    /// It could not.
    async fn delete(&self, cluster: &str, service: &Service) -> Result<(), Failure>;
}

/// A way to the pods of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Route {
    /// The cloud's name for it; empty if it is to be made.
    pub name: String,
    /// The node that it leads to; empty if the cloud does not know.
    pub node: String,
    /// Where the node is; none: the cloud does not look at addresses.
    pub addresses: Option<Vec<NodeAddress>>,
    /// The range of the pods.
    pub destination: String,
    /// It leads nowhere.
    pub blackhole: bool,
}

/// The routes between nodes.
#[async_trait]
pub trait Routes: Send + Sync {
    /// Those of the cluster.
    ///
    /// # Errors
    /// The cloud does not say.
    async fn list(&self, cluster: &str) -> anyhow::Result<Vec<Route>>;

    /// Makes one; `hint` may be part of its name.
    ///
    /// # Errors
    /// It could not.
    async fn create(&self, cluster: &str, hint: &str, route: &Route) -> anyhow::Result<()>;

    /// Deletes one.
    ///
    /// # Errors
    /// It could not.
    async fn delete(&self, cluster: &str, route: &Route) -> anyhow::Result<()>;
}
