//! What is attached, detached and told of in each situation of volumes, nodes and pods.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;

const NOW: i64 = 1_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW + seconds).unwrap()
}

fn pod(name: &str) -> Arc<Pod> {
    let (namespace, name) = name.split_once('/').unwrap_or(("ns", name));
    Arc::new(serde_json::from_value(json!({"metadata": {"name": name, "namespace": namespace}})).unwrap())
}

/// A node: `in-use`, `reports`, `silent`, `out` (of service), `unmanaged`; `gone` for none; `attached`, `attaching`,
/// `leaving` or `failed` for an attachment; all else are pods.
fn place(words: &str) -> Place {
    let has = |word: &str| words.split_whitespace().any(|w| w == word);
    let known =
        ["in-use", "reports", "silent", "out", "unmanaged", "gone", "attached", "attaching", "leaving", "failed"];
    let pods = words.split_whitespace().filter(|word| !known.contains(word)).map(pod).collect();
    let attachment = ["attached", "attaching", "leaving", "failed"].iter().any(|word| has(word)).then(|| Attachment {
        attached: has("attached"),
        leaving: has("leaving"),
        error: has("failed").then(|| (Some(at(0)), "no".to_owned())),
    });
    let node = Facts {
        managed: !has("unmanaged"),
        healthy: !has("silent"),
        out_of_service: has("out"),
        in_use: has("in-use"),
        reports: has("reports"),
    };
    Place { node: (!has("gone")).then_some(node), attachment, pods, memory: Memory::default() }
}

/// The nodes of a volume over time.
struct Nodes {
    memory: BTreeMap<String, Memory>,
    exclusive: bool,
    force: bool,
}

impl Nodes {
    fn new() -> Self {
        Self { memory: BTreeMap::new(), exclusive: true, force: true }
    }

    /// Syncs at that second and asserts what is done: `attach n`, `detach n`, `force n`, `report n`, `n/pod: message`; and
    /// when it is looked at again.
    fn check(&mut self, second: i64, places: &[(&str, &str)], want: &[&str]) {
        let mut now: BTreeMap<String, Place> =
            places.iter().map(|(node, words)| ((*node).to_owned(), place(words))).collect();
        for (node, memory) in std::mem::take(&mut self.memory) {
            now.entry(node).or_insert_with(|| place("")).memory = memory;
        }
        let volume = Volume { name: "pv", driver: "d", handle: "h", exclusive: self.exclusive };
        let actions = sync(&volume, &mut now, self.force, at(second));
        let said = actions.iter().map(|action| match action {
            Action::Attach(node) => format!("attach {node}"),
            Action::Detach { node, forced: None } => format!("detach {node}"),
            Action::Detach { node, forced: Some(_) } => format!("force {node}"),
            Action::Report(node) => format!("report {node}"),
            Action::Tell(node, i, kind, reason, message) => {
                assert_eq!(*kind == "Warning", *reason == "FailedAttachVolume");
                format!("{node}/{}: {message}", key::name(&now[node].pods[*i].metadata))
            }
            Action::Later(wait) => format!("again in {}", wait.as_secs()),
        });
        assert_eq!(said.collect::<Vec<_>>(), want, "{second}: {places:?}");
        self.memory = now.into_iter().map(|(node, place)| (node, place.memory)).collect();
    }
}

const SUCCEEDED: &str = "n1/p: AttachVolume.Attach succeeded for volume \"pv\" ";

#[test]
fn a_volume_follows_its_pod() {
    let mut nodes = Nodes::new();
    nodes.check(0, &[("n1", "p")], &["attach n1"]);
    nodes.check(1, &[("n1", "p attaching")], &["again in 120"]);
    nodes.check(2, &[("n1", "p attached")], &[SUCCEEDED, "report n1"]);
    nodes.check(3, &[("n1", "p attached reports")], &[]);
    nodes.check(4, &[("n1", "p attached reports in-use")], &[]);
    // The pod moves: the volume goes when it is unmounted, and the status says so before.
    let elsewhere = |words: &'static str| [("n1", words), ("n2", "q")];
    let waits = "n2/q: Multi-Attach error for volume \"pv\" Volume is already exclusively attached to one node and can't \
        be attached to another";
    nodes.check(10, &elsewhere("attached reports in-use"), &["again in 360", waits]);
    nodes.check(20, &elsewhere("attached reports in-use"), &["again in 350"]);
    nodes.check(21, &elsewhere("attached reports"), &["report n1"]);
    nodes.check(22, &elsewhere("attached"), &["detach n1"]);
    nodes.check(23, &elsewhere("attached leaving"), &[]);
    nodes.check(24, &[("n2", "q")], &["attach n2"]);
}

#[test]
fn only_managed_nodes_get_volumes() {
    let mut nodes = Nodes::new();
    nodes.check(0, &[("n1", "p unmanaged"), ("n2", "q gone")], &[]);
    nodes.check(0, &[("n1", "p unmanaged attached")], &["detach n1"]);
}

#[test]
fn a_volume_that_is_wanted_again_is_not_detached() {
    let mut nodes = Nodes::new();
    nodes.check(0, &[("n1", "attached reports")], &["report n1"]);
    // The status was written already; or it was not.
    nodes.check(1, &[("n1", "attached p")], &["report n1", SUCCEEDED, "report n1"]);
    nodes.check(2, &[("n1", "attached reports p")], &[]);
    nodes.check(3, &[("n1", "attached reports")], &["report n1"]);
    nodes.check(4, &[("n1", "attached reports p")], &[]);
    // Too late: it has to go before it can come again.
    nodes.check(5, &[("n1", "attached leaving p")], &[]);
    nodes.check(6, &[("n1", "p")], &["attach n1"]);
}

#[test]
fn a_silent_node_loses_its_volumes_after_six_minutes() {
    for node in ["silent in-use", "gone"] {
        let mut nodes = Nodes::new();
        nodes.check(0, &[("n1", &format!("attached {node}"))], &["again in 360"]);
        nodes.check(360, &[("n1", &format!("attached {node}"))], &["again in 0"]);
        nodes.check(361, &[("n1", &format!("attached {node}"))], &["force n1"]);
    }
    // One that is well keeps them.
    let mut nodes = Nodes::new();
    nodes.check(0, &[("n1", "attached in-use reports")], &["again in 360"]);
    nodes.check(1000, &[("n1", "attached in-use reports")], &[]);
    nodes.check(1001, &[("n1", "attached in-use reports silent")], &["report n1"]);
    nodes.check(1002, &[("n1", "attached in-use silent")], &["force n1"]);
    // Unless nothing is forced.
    let mut nodes = Nodes { force: false, ..Nodes::new() };
    nodes.check(0, &[("n1", "attached in-use silent")], &[]);
    nodes.check(1000, &[("n1", "attached in-use silent")], &[]);
    // A node that said that it does not use the volume before it went loses it at once.
    let mut nodes = Nodes::new();
    nodes.check(0, &[("n1", "attached p reports")], &[]);
    nodes.check(1, &[("n1", "attached gone")], &["detach n1"]);
}

#[test]
fn a_node_out_of_service_loses_its_volumes_at_once() {
    let mut nodes = Nodes { force: false, ..Nodes::new() };
    nodes.check(0, &[("n1", "attached in-use reports out silent")], &["report n1"]);
    nodes.check(0, &[("n1", "attached in-use out silent")], &["force n1"]);
}

#[test]
fn a_volume_that_cannot_be_shared_is_attached_once() {
    let mut nodes = Nodes::new();
    nodes.check(0, &[("n1", "p"), ("n2", "q")], &["attach n1"]);
    nodes.check(1, &[("n1", "p attaching"), ("n2", "q")], &["again in 120"]);
    let told = "n2/q: Multi-Attach error for volume \"pv\" Volume is already used by pod(s) p";
    nodes.check(2, &[("n1", "p attached reports"), ("n2", "q")], &[told]);
    nodes.check(3, &[("n1", "p attached reports"), ("n2", "q")], &[]);
    let mut shared = Nodes { exclusive: false, ..Nodes::new() };
    shared.check(0, &[("n1", "p"), ("n2", "q")], &["attach n1", "attach n2"]);
}

#[test]
fn pods_are_told_names_of_their_namespace_only() {
    let check = |pods: &str, want: &str| {
        let want = format!("n2/q: Multi-Attach error for volume \"pv\" Volume is already {want}");
        Nodes::new().check(0, &[("n1", &format!("{pods} attached reports")), ("n2", "q")], &[&want]);
    };
    check("a b", "used by pod(s) a, b");
    check("a x/c x/d", "used by pod(s) a and 2 pod(s) in different namespaces");
    check("x/c", "used by 1 pod(s) in different namespaces");
}

#[test]
fn a_failure_to_attach_is_told_once_each_time() {
    let mut nodes = Nodes::new();
    let failed = "n1/p: AttachVolume.Attach failed for volume \"pv\" : no";
    nodes.check(0, &[("n1", "p failed")], &[failed, "again in 120"]);
    nodes.check(60, &[("n1", "p failed")], &["again in 60"]);
    let late = "n1/p: AttachVolume.Attach failed for volume \"pv\" : timed out waiting for external-attacher of d CSI \
        driver to attach volume h";
    nodes.check(120, &[("n1", "p failed")], &[late, "again in 120"]);
    nodes.check(121, &[("n1", "p attached")], &[SUCCEEDED, "report n1"]);
    // What was attached and reported before this process began is no news.
    Nodes::new().check(0, &[("n1", "p attached reports")], &[]);
}
