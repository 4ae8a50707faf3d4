//! Three hosts on a link, and a client that keeps connecting: who answers when the announcer is killed, when its link is cut,
//! and when it ends well.
//!
//! Each announcer is a process in a network namespace. The API server is this process: cutting a host's link does not cut it
//! off the API. In place of the proxy a rule translates the addresses at the same point of the host's path.

#![allow(clippy::unwrap_used)]

mod net;

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use testkit::{Caller, Cluster, Component};
use tokio_util::sync::CancellationToken;

use net::{Answers, Net};

const HOSTS: [&str; 3] = ["a", "b", "c"];
/// An address of each family is to be followed.
const ADDRESSES: [&str; 2] = ["192.0.2.100", "2001:db8::1:100"];
const POOL: &str = "192.0.2.100-192.0.2.110,2001:db8::1:100-2001:db8::1:110";
/// How long an address may be without a host.
const MOST: Duration = Duration::from_secs(3);
/// Far more than anything takes; only to end a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn server() -> anyhow::Result<()> {
    testkit::serve_one_of(&[("balancer", |arguments| Box::pin(ferry_balancer::main(arguments)))])
}

struct World {
    net: Net,
    admin: Caller,
    _cluster: Cluster,
    directory: tempfile::TempDir,
    balancers: Vec<Component>,
    /// Ends the hosts' way to the API.
    api: CancellationToken,
}

impl World {
    /// None where this machine has no namespaces.
    async fn new() -> anyhow::Result<Option<World>> {
        let Some(net) = Net::new(&HOSTS) else { return Ok(None) };
        let cluster = Cluster::start().await?;
        let server = cluster.loopback().await?;
        let mut world = World {
            net,
            admin: cluster.admin(),
            _cluster: cluster,
            directory: tempfile::tempdir()?,
            balancers: vec![],
            api: CancellationToken::new(),
        };
        let kubeconfig = world.directory.path().join("kubeconfig");
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{server}")}}],
            "users": [{"name": "c", "user": {}}], "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]});
        std::fs::write(&kubeconfig, config.to_string())?;
        for (at, name) in HOSTS.into_iter().enumerate() {
            world.create("/api/v1/nodes", json!({"metadata": {"name": name}})).await?;
            let addresses = Net::addresses(at).map(|ip| json!({"type": "InternalIP", "address": ip}));
            let status = json!({"addresses": addresses, "conditions": [{"type": "Ready", "status": "True"}]});
            world.patch(&format!("/api/v1/nodes/{name}/status"), json!({"status": status})).await?;
            world.net.reach(name, server, world.api.clone())?;
            let arguments = [
                format!("--kubeconfig={}", kubeconfig.display()),
                format!("--hostname-override={name}"),
                format!("--addresses={POOL}"),
            ];
            let log = world.directory.path().join(name);
            let start = move || Component::start("balancer", log, arguments.into());
            world.balancers.push(world.net.on(name, start)?);
        }
        let range = json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/24", "fd00::/112"]}});
        world.create("/apis/networking.k8s.io/v1/servicecidrs", range).await?;
        Ok(Some(world))
    }

    async fn create(&self, path: &str, object: Value) -> anyhow::Result<()> {
        let answer = self.admin.send(Method::POST, path, Some(&object)).await?;
        anyhow::ensure!(answer.code == 201, "{}", answer.body);
        Ok(())
    }

    async fn patch(&self, path: &str, patch: Value) -> anyhow::Result<()> {
        let answer = self.admin.send_as(Method::PATCH, path, "application/merge-patch+json", Some(&patch)).await?;
        anyhow::ensure!(answer.code == 200, "{}", answer.body);
        Ok(())
    }

    /// A Service of both families, with the addresses that are followed.
    async fn service(&self, policy: &str) -> anyhow::Result<()> {
        let spec = json!({"type": "LoadBalancer", "ipFamilyPolicy": "RequireDualStack", "ports": [{"port": 8080}],
            "externalTrafficPolicy": policy});
        self.create("/api/v1/namespaces/default/services", json!({"metadata": {"name": "web"}, "spec": spec})).await
    }

    /// The Service has endpoints on these hosts, and no others.
    async fn endpoints(&self, hosts: &[&str]) -> anyhow::Result<()> {
        let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
        let endpoints: Vec<Value> =
            hosts.iter().map(|host| json!({"addresses": ["10.0.0.1"], "nodeName": host})).collect();
        let slice = json!({"metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": endpoints});
        if self.admin.get(&format!("{path}/web-1")).await?.code == 404 {
            return self.create(path, slice).await;
        }
        self.patch(&format!("{path}/web-1"), json!({"endpoints": endpoints})).await
    }

    fn logs(&self) -> String {
        self.balancers.iter().map(Component::log).collect()
    }

    /// The host that answers for an address, when it has done so for a while.
    async fn settled(&self, answers: &Answers) -> anyhow::Result<String> {
        let begun = Instant::now();
        loop {
            anyhow::ensure!(begun.elapsed() < PATIENCE, "nobody answers: {}", self.logs());
            let since = Instant::now();
            tokio::time::sleep(Duration::from_secs(2)).await;
            let (hosts, longest) = answers.since(since);
            if let [host] = hosts.as_slice()
                && longest < Duration::from_secs(1)
            {
                return Ok(host.clone());
            }
        }
    }

    /// Until another host than `from` answers; how long after `since` that was, and the longest time without an answer.
    async fn moved(&self, answers: &Answers, from: &str, since: Instant) -> anyhow::Result<(Duration, Duration)> {
        loop {
            anyhow::ensure!(since.elapsed() < PATIENCE, "it does not move: {}", self.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
            if let Some(at) = answers.first_of_others(from, since) {
                return Ok((at - since, answers.since(since).1));
            }
        }
    }

    /// Until `host` answers again.
    async fn until_back(&self, answers: &Answers, host: &str) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !matches!(answers.since(Instant::now() - Duration::from_millis(500)).0.as_slice(), [only] if only == host)
        {
            anyhow::ensure!(begun.elapsed() < PATIENCE, "it does not come back: {}", self.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Starts an announcer again on its host.
    fn restart(&mut self, at: usize) -> anyhow::Result<()> {
        let balancer = &mut self.balancers[at];
        self.net.on(HOSTS[at], move || balancer.start_again())
    }

    fn at(&self, host: &str) -> usize {
        HOSTS.iter().position(|name| *name == host).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_address_follows_within_three_seconds() -> anyhow::Result<()> {
    let Some(mut world) = World::new().await? else { return Ok(()) };
    world.service("Cluster").await?;
    let all = ADDRESSES.map(|address| world.net.keep_asking(address));
    for (address, answers) in ADDRESSES.iter().zip(&all) {
        // The process is killed: the host still answers who knows it, until the others say that the address is elsewhere.
        let first = world.settled(answers).await?;
        let (at, killed) = (world.at(&first), Instant::now());
        world.balancers[at].kill()?;
        let (took, longest) = world.moved(answers, &first, killed).await?;
        eprintln!("{address}: killed; elsewhere after {took:?}, at most {longest:?} without an answer");
        assert!(took < MOST && longest < MOST, "{took:?} {longest:?} {}", world.logs());
        // It comes back, and has its own again.
        world.restart(at)?;
        world.until_back(answers, &first).await?;

        // The link is cut, and nobody says anything.
        let cut = Instant::now();
        world.net.cut(&first);
        let (took, longest) = world.moved(answers, &first, cut).await?;
        eprintln!("{address}: cut; elsewhere after {took:?}, at most {longest:?} without an answer");
        assert!(took < MOST && longest < MOST, "{took:?} {longest:?} {}", world.logs());
        let second = world.settled(answers).await?;
        assert_ne!(second, first);
        // Both have answered meanwhile; one does when the link is whole again.
        world.net.mend(&first);
        world.until_back(answers, &first).await?;
        assert_eq!(world.settled(answers).await?, first);

        // It ends well: nobody waits.
        let ended = Instant::now();
        world.balancers[at].terminate().await?;
        let (took, longest) = world.moved(answers, &first, ended).await?;
        eprintln!("{address}: ended; elsewhere after {took:?}, at most {longest:?} without an answer");
        assert!(longest < Duration::from_secs(1), "{took:?} {longest:?} {}", world.logs());
        world.restart(at)?;
        world.until_back(answers, &first).await?;
    }
    Ok(())
}

/// With the policy Local a host with endpoints answers, as long as there is one; and nothing of that needs the API.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_local_address_stays_with_its_endpoints_though_the_api_is_away() -> anyhow::Result<()> {
    let Some(mut world) = World::new().await? else { return Ok(()) };
    world.service("Local").await?;
    let answers = world.net.keep_asking(ADDRESSES[0]);
    // Nobody has endpoints: any host answers, for its proxy to refuse.
    world.settled(&answers).await?;
    for host in ["b", "c", "a"] {
        world.endpoints(&[host]).await?;
        world.until_back(&answers, host).await?;
    }
    world.endpoints(&["a", "c"]).await?;
    let first = world.settled(&answers).await?;
    let (at, other) = (world.at(&first), if first == "a" { "c" } else { "a" });
    world.api.cancel();
    let killed = Instant::now();
    world.balancers[at].kill()?;
    let (took, longest) = world.moved(&answers, &first, killed).await?;
    assert!(took < MOST && longest < MOST, "{took:?} {longest:?} {}", world.logs());
    assert_eq!(world.settled(&answers).await?, other);
    Ok(())
}
