//! What a server runs beside its API server and its node: scheduler and controllers, each a client with an identity of its own;
//! none is an administrator. Of several servers one has them work at a time. A part that fails, or ends by itself, ends the
//! process with its name.
//!
//! The scheduler and the controllers say of themselves what they do at upstream's ports, on this machine alone, to those whom
//! the API server lets ask: the administrator, and whoever may read metrics.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::bail;
use client::delegated::Port;
use component::Supervisor;
use controller::Recorder;
use controller::leader_election::{self, Election, Outcome};
use controller_manager::NodeRanges;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::api::Api;
use super::flags::Layout;
use super::node::{self, Node};
use super::{checks, rights};

/// The kernel's words for a port that is taken.
const IN_USE: &str = "Address already in use";

/// Runs a part until it is told to end.
pub fn part<F>(parts: &Supervisor, name: &'static str, work: impl FnOnce(Supervisor) -> F + Send + 'static)
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    parts.vital(name, move |own| async move {
        let stopping = own.stopping();
        match work(own).await {
            Err(error) if format!("{error:#}").contains(IN_USE) => Err(error.context(checks::PORT_TAKEN)),
            Ok(()) if !stopping.is_cancelled() => bail!("it ended by itself"),
            outcome => outcome,
        }
    });
}

/// Where a part says of itself what it does.
fn own_port(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
}

/// A part's own port, with a certificate of the cluster's for that part, where whoever has one of the cluster's is known.
fn guarded(api: &Api, port: u16, user: &str, client: &kube::Client) -> anyhow::Result<Port> {
    let names = ["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string()];
    let serving = api.pki.renewed_serving(user, &names, OffsetDateTime::now_utc())?;
    Port::with(own_port(port), serving, api.pki.ca_pem(), client)
}

/// Starts them, once their ports are free; with `one_of_several`, to work while they lead.
pub fn start(
    api: &Api,
    node: &str,
    ranges: NodeRanges,
    one_of_several: bool,
    parts: &Supervisor,
) -> anyhow::Result<()> {
    let ports = [scheduler::serving::PORT, controller_manager::serving::PORT].map(own_port);
    ports.into_iter().try_for_each(checks::port_is_free)?;
    let election = |name: &str| {
        let identity = format!("{node}_{:016x}", rand::random::<u64>());
        one_of_several.then(|| Election::new(name, identity))
    };
    let config = scheduler::Config { host: node.to_string(), ..Default::default() };
    let user = "system:kube-scheduler";
    let client = api.client(user, &[]);
    let port = guarded(api, scheduler::serving::PORT, user, &client)?;
    let elected = election("kube-scheduler");
    part(parts, "scheduler", move |own| async move {
        scheduler::serving::serve(port, &config, &own).await?;
        let work = |cancel| scheduler::run(config.clone(), client.clone(), cancel);
        lead(elected, "default-scheduler", &client, &own, work).await
    });

    let controllers = controller_manager::Config {
        controllers: ["*", rights::PROVISIONER].into_iter().chain(rights::JOINING).map(String::from).collect(),
        root_ca: Some(api.pki.ca_pem().to_string()),
        service_account_key: Some(std::fs::read_to_string(api.pki.path("sa.key"))?),
        signing: controller_manager::Signing::with(api.pki.path("ca.crt"), api.pki.path("ca.key")),
        client_for: Some(api.service_accounts()),
        node_ranges: Some(ranges),
        ..Default::default()
    };
    let user = "system:kube-controller-manager";
    let client = api.client(user, &[]);
    let port = guarded(api, controller_manager::serving::PORT, user, &client)?;
    let elected = election(controller_manager::COMPONENT);
    part(parts, "controller manager", move |own| async move {
        controller_manager::serving::serve(port, &controllers, &own).await?;
        let work = |cancel| controller_manager::run(controllers.clone(), client.clone(), cancel);
        lead(elected, controller_manager::COMPONENT, &client, &own, work).await
    });
    Ok(())
}

/// Has a part work: at once, or whenever this server leads. One that has lost its lead works no more, and waits for it again:
/// the process has other parts.
async fn lead<F>(
    election: Option<Election>,
    name: &'static str,
    client: &kube::Client,
    own: &Supervisor,
    work: impl Fn(CancellationToken) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let Some(election) = election else { return work(own.token()).await };
    loop {
        let mut ended = Ok(());
        let recorder = Recorder::new(client.clone(), name, "", own);
        let (end, work) = (&mut ended, &work);
        let leading = |cancel| async move { *end = work(cancel).await };
        let outcome = leader_election::run(election.clone(), client.clone(), recorder, own.token(), leading).await;
        ended?;
        if outcome == Outcome::Cancelled {
            return Ok(());
        }
        tracing::warn!(part = name, "another server leads now");
    }
}

/// The kubelet's settings, with a serving certificate of the cluster's.
pub fn kubelet_config(api: &Api, layout: &Layout, node: &Node) -> anyhow::Result<kubelet::Config> {
    let names = [node.name.clone(), node.address.to_string()];
    let user = format!("system:node:{}", node.name);
    let config = kubelet::Config {
        serving: Some(api.pki.renewed_serving(&user, &names, OffsetDateTime::now_utc())?),
        client_ca_pem: Some(api.pki.ca_pem().to_string()),
        ..node::kubelet_config(node, layout)
    };
    checks::port_is_free(SocketAddr::new(config.file.address.parse()?, config.file.port))?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the process says when one of two parts ends so, after the other has ended in order.
    async fn said<F>(work: impl FnOnce(Supervisor) -> F + Send + 'static) -> String
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let root = Supervisor::new();
        let parts = root.child("parts");
        let server = root.token();
        let (told, order) = std::sync::mpsc::channel();
        part(&parts, "other", move |own| async move {
            own.token().cancelled().await;
            let _ = told.send(server.is_cancelled());
            Ok(())
        });
        part(&parts, "kubelet", work);
        let error = root.finish().await.unwrap_err();
        assert!(!order.try_recv().unwrap(), "the API server ends after those who need it");
        format!("{error:#}")
    }

    #[tokio::test]
    async fn a_part_that_fails_ends_the_process_with_its_name() {
        let failed = said(|_| async { bail!("no room") }).await;
        assert_eq!(failed, "the task kubelet failed: no room");
        let panicked = said(|_| async { panic!("it broke") }).await;
        assert!(panicked.starts_with("the task kubelet panicked: it broke (at ferry/src/up/parts.rs:"), "{panicked}");
        let ended = said(|_| async { Ok(()) }).await;
        assert_eq!(ended, "the task kubelet failed: it ended by itself");
        let taken = said(|_| async { bail!("listening: {IN_USE} (os error 98)") }).await;
        assert_eq!(
            taken,
            "the task kubelet failed: another program, perhaps another cluster's, has a port that a node needs: end it: \
             listening: Address already in use (os error 98)"
        );
    }

    #[tokio::test]
    async fn parts_that_are_told_to_end_are_no_fault() {
        let root = Supervisor::new();
        part(&root.child("parts"), "kubelet", |own| async move {
            own.token().cancelled().await;
            Ok(())
        });
        root.stop();
        root.finish().await.unwrap();
    }
}
