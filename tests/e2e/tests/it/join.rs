//! Clusters of several machines: joined by a token, one network, published ports that answer everywhere, left in order.

use std::time::Instant;

use ferry_e2e::agent::Agent;
use ferry_e2e::cluster::Cluster;
use ferry_e2e::link::Link;
use ferry_e2e::machine::{Machine, text};
use ferry_e2e::wait;

/// A server at .10 and machines from .11 on.
fn machines(link: &Link, test: &str, agents: u8) -> Option<(Cluster, Vec<Agent>)> {
    let server = Machine::on_link(link, 10, test, &[])?;
    let agents = (0..agents).map(|n| Machine::on_link(link, 11 + n, test, &[]).map(Agent::on));
    let agents = agents.collect::<Option<Vec<_>>>()?;
    Some((Cluster::up_on(server, &[]), agents))
}

/// The line that joins, as the server prints it.
fn token(server: &Cluster, flags: &str) -> String {
    server.sh(&format!("{} token create --data-dir {} {flags}", server.ferry().display(), server.data().display()))
}

fn ready(server: &Cluster, nodes: usize) {
    wait::until("all nodes are Ready", || {
        let shown = server.try_kubectl("get nodes --no-headers")?;
        if shown.matches(" Ready ").count() == nodes { Ok(()) } else { Err(shown) }
    });
}

/// One line that says what is wrong.
fn refused(agent: &Agent, command: &str, flags: &[&str]) -> String {
    let output = agent.run(command, flags);
    let said = text(&output.stderr);
    assert!(!output.status.success(), "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    lines[0].to_owned()
}

#[test]
fn machines_join_by_a_token_and_their_pods_are_one_network() {
    let link = Link::new();
    let Some((server, mut agents)) = machines(&link, "join", 2) else { return };
    let line = token(&server, "");
    assert!(line.starts_with("ferry join 192.0.2.10:6443 --token FRYTKN-1-"), "{line}");
    let began = Instant::now();
    // Machines that were copied from one have its name, too.
    agents[1].sh(&format!("hostname {}", agents[0].name));
    agents[0].start(&line, &[]);
    agents[1].start(&line, &["--node-name=second"]);
    ready(&server, 3);
    eprintln!("two agents Ready after {:?}", began.elapsed());
    assert!(agents.iter().all(|agent| !agent.log().contains("FRYTKN")), "no secret in a log");

    // Pods of all nodes, and each node's port for them.
    server.apply_example();
    server.kubectl("scale deployment/web --replicas=6");
    server.kubectl("rollout status deployment/web --timeout=120s");
    let pods = server.get("pods -l app=web");
    let pods = pods["items"].as_array().unwrap();
    let nodes: std::collections::BTreeSet<_> = pods.iter().map(|pod| pod["spec"]["nodeName"].to_string()).collect();
    assert_eq!(nodes.len(), 3, "{nodes:?}");
    let port = server.get("service web")["spec"]["ports"][0]["nodePort"].to_string();
    for host in [10, 11, 12] {
        wait::until("the published port answers", || {
            let output = link.try_sh(&format!("curl -sSf -m 2 -o /dev/null http://192.0.2.{host}:{port}/"));
            if output.status.success() { Ok(()) } else { Err(text(&output.stderr)) }
        });
    }
    for pod in pods {
        let ip = pod["status"]["podIP"].as_str().unwrap();
        for machine in [&server.machine, &agents[0].machine, &agents[1].machine] {
            machine.sh(&format!("curl -sSf -m 5 -o /dev/null http://{ip}:8080/"));
        }
    }
    // Logs and exec go from the server to the agents' kubelets, by certificates of the cluster.
    for pod in server.pods("app=web") {
        server.kubectl(&format!("logs {pod}"));
    }

    // An agent is there again without a token, with the node that it was.
    assert_eq!(agents[0].end("TERM"), Some(0));
    agents[0].start("ferry join", &[]);
    ready(&server, 3);
    wait::until("it says so", || {
        if agents[0].log().matches("is Ready").count() == 2 { Ok(()) } else { Err(agents[0].log()) }
    });

    // It leaves: its pods are made again elsewhere, and nothing of it stays.
    let node = agents[0].name.clone();
    let output = agents[0].run("ferry leave", &[]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    agents[0].ended();
    ready(&server, 2);
    server.kubectl("rollout status deployment/web --timeout=120s");
    assert!(!server.kubectl("get pods -o wide").contains(&node));
    assert!(!agents[0].data().exists());
}

#[test]
fn what_keeps_a_machine_from_joining_is_said_in_one_line() {
    let link = Link::new();
    let Some((server, agents)) = machines(&link, "join refused", 1) else { return };
    let agent = &agents[0];
    let line = token(&server, "");
    let said = |command: &str, flags: &[&str]| refused(agent, command, flags);
    assert!(said("ferry join", &[]).contains("give a server of the cluster and a token"));
    assert!(said("ferry join 192.0.2.10", &[]).contains("a token is needed"));
    assert!(said("ferry join 192.0.2.10 --token nonsense", &[]).contains("this is no token to join with"));
    assert!(said(&line.replace(":6443", ":6444"), &[]).contains("nothing listens there"));
    assert!(said(&line.replace("192.0.2.10", "192.0.2.77"), &[]).contains("192.0.2.77:6443"));
    // Of another cluster: one digit of the hash is another.
    let at = line.find("FRYTKN-1-").unwrap() + 9;
    let other = if line.as_bytes()[at] == b'0' { "1" } else { "0" };
    let stranger = format!("{}{other}{}", &line[..at], &line[at + 1..]);
    assert!(said(&stranger, &[]).contains("is not of the cluster that the token is for"));
    // A secret that is not the cluster's.
    let wrong = format!("{}{}", &line[..line.len() - 4], if line.ends_with("aaaa") { "bbbb" } else { "aaaa" });
    assert!(said(&wrong, &[]).contains("does not accept the token"), "{}", said(&wrong, &[]));
    // A name that is taken.
    let name = server.name.clone();
    let taken = said(&line, &["--node-name", &name]);
    assert!(taken.contains(&format!("a node named {name:?} is in the cluster already")), "{taken}");
    // One that was revoked, and one for a single machine.
    let id = line[at + 65..].split('.').next().unwrap().to_owned();
    let ferry = format!("{} token", server.ferry().display());
    let data = format!("--data-dir {}", server.data().display());
    assert!(server.sh(&format!("{ferry} list {data}")).contains(&id));
    server.sh(&format!("{ferry} revoke {data} {id}"));
    let revoked = said(&line, &[]);
    // A server may know a token for some seconds more, but lets no machine in with it.
    let is_refused = |said: &str| said.contains("does not accept the token") || said.contains("the token was revoked");
    assert!(is_refused(&revoked), "{revoked}");
    assert!(!agent.data().join("joined.json").exists());
    let once = token(&server, "--single-use");
    let mut agents = agents;
    agents[0].start(&once, &[]);
    ready(&server, 2);
    let third = Agent::on(Machine::on_link(&link, 12, "join refused", &[]).unwrap());
    let spent = refused(&third, &once, &[]);
    assert!(is_refused(&spent), "{spent}");
}

#[test]
fn servers_share_an_etcd_and_agents_go_on_when_the_one_they_joined_by_is_gone() {
    let (link, test) = (Link::new(), "servers on etcd");
    let Some(first) = Machine::on_link(&link, 10, test, &["etcd"]) else { return };
    // In memory: it is not etcd's disk that is tried here.
    let etcd = link.spawn(
        "mount -t tmpfs tmpfs /srv; exec etcd --data-dir /srv/etcd --listen-client-urls http://192.0.2.99:2379 \
         --advertise-client-urls http://192.0.2.99:2379 --listen-peer-urls http://127.0.0.1:2380 --log-level error",
    );
    lose_the_first(&link, test, first, "--etcd-servers=http://192.0.2.99:2379");
    drop(etcd);
}

#[test]
fn servers_replicate_their_store_and_agents_go_on_when_the_one_they_joined_by_is_gone() {
    let (link, test) = (Link::new(), "replicated servers");
    let Some(first) = Machine::on_link(&link, 10, test, &[]) else { return };
    lose_the_first(&link, test, first, "--replicated");
}

/// Three servers, and two agents that join by way of the first, which is killed and comes back.
fn lose_the_first(link: &Link, test: &str, first: Machine, flag: &str) {
    let mut first = Cluster::up_on(first, &[flag]);
    let on = |host: u8| Agent::on(Machine::on_link(link, host, test, &[]).unwrap());
    let mut others: Vec<Agent> = [11, 12].map(on).into();
    let line = token(&first, "--server");
    assert!(line.contains(" --server "), "{line}");
    others.iter_mut().for_each(|server| server.start(&line, &[]));
    let mut agents: Vec<Agent> = [13, 14].map(on).into();
    let line = token(&first, "");
    agents.iter_mut().for_each(|agent| agent.start(&line, &[]));
    ready(&first, 5);
    let endpoints = |server: &Agent| {
        let shown = kubectl_on(server, "get endpointslice kubernetes -o jsonpath={.endpoints[*].addresses[0]}");
        let mut all: Vec<String> = shown.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        all.sort();
        all
    };
    wait::until("all servers are endpoints", || match endpoints(&others[0]) {
        all if all.len() == 3 => Ok(()),
        all => Err(format!("{all:?}")),
    });
    wait::until("agents know all servers", || {
        let text = std::fs::read_to_string(agents[0].data().join("kubelet.conf")).unwrap();
        if text.contains("192.0.2.12:6443") { Ok(()) } else { Err(text) }
    });
    // One set of controllers works at a time.
    let leader =
        kubectl_on(&others[0], "-n kube-system get lease kube-controller-manager -o jsonpath={.spec.holderIdentity}");
    assert!(leader.unwrap().starts_with(&first.name));

    first.kill_9();
    // The others go on, and what is new runs on agents that had joined by way of the first.
    let manifest = others[0].dir.join("web.yaml");
    std::fs::copy(ferry_e2e::cluster::example(), &manifest).unwrap();
    // Pods that are sent to it before it is missed wait for minutes, as everywhere.
    wait::until("it is taken", || kubectl_on(&others[0], &format!("cordon {}", first.name)));
    wait::until("it is taken", || kubectl_on(&others[0], &format!("apply -f {}", manifest.display())));
    kubectl_on(&others[0], "scale deployment/web --replicas=4").unwrap();
    kubectl_on(&others[0], "rollout status deployment/web --timeout=120s").unwrap();
    for agent in &agents {
        let node = &agent.name;
        kubectl_on(&others[1], &format!("wait --for=condition=Ready node/{node} --timeout=60s")).unwrap();
    }
    wait::until("the endpoints are those of the servers that are there", || match endpoints(&others[1]) {
        all if all == ["192.0.2.11", "192.0.2.12"] => Ok(()),
        all => Err(format!("{all:?}")),
    });
    // It comes back as what it was.
    first.start();
    kubectl_on(&others[0], &format!("uncordon {}", first.name)).unwrap();
    wait::until("all are Ready again", || {
        let shown = kubectl_on(&others[0], "get nodes --no-headers")?;
        if shown.matches(" Ready ").count() == 5 { Ok(()) } else { Err(shown) }
    });
    // A server leaves in order, and the two that are left go on.
    let output = others[1].run("ferry leave", &["--force"]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    others[1].ended();
    wait::until("two servers are left", || match endpoints(&others[0]) {
        all if all == ["192.0.2.10", "192.0.2.11"] => Ok(()),
        all => Err(format!("{all:?}")),
    });
    kubectl_on(&others[0], "create configmap after-all").unwrap();
}

/// kubectl on a server that has joined, as its administrator.
fn kubectl_on(server: &Agent, arguments: &str) -> Result<String, String> {
    let mut command = server.command("kubectl");
    command.env("KUBECONFIG", server.data().join("admin.conf"));
    let output = command.args(arguments.split_whitespace()).output().unwrap();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
