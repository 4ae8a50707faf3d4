//! Why a pod got its node, or none: the last decision for each of the newest thousand pods, as JSON for people and tools.
//!
//! A refusal is kept in full, node by node with the plugin that refused; of a success the node with what each plugin gave
//! it. What is kept of nodes is bounded over all pods: the oldest decisions lose theirs first, and say so.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{
    cache::{Snapshot, pod::PodInfo},
    fit_error::FitError,
    framework::{Framework, status::Status},
    metrics::code_name,
};

/// Pods whose last decision is kept.
const PODS: usize = 1000;
/// Verdicts on nodes that are kept over all pods: about 12 MB.
const VERDICTS: usize = 500_000;

/// What a plugin gave the node that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Score {
    /// The plugin.
    pub plugin: &'static str,
    /// 0 to 100.
    pub score: i64,
    /// How much it counts.
    pub weight: i64,
}

/// What was decided.
#[derive(Debug)]
pub enum Verdict {
    /// A node was found.
    Node {
        /// Its name.
        name: Arc<str>,
        /// Nodes that admit the pod.
        feasible: usize,
        /// Nodes looked at.
        evaluated: usize,
        /// What each plugin gave it; none if there was no other.
        scores: Vec<Score>,
    },
    /// No node admits the pod.
    None(Refusals),
    /// Something went wrong, or there was no node to look at.
    Failed,
}

/// Why no node would do.
#[derive(Debug, Default)]
pub struct Refusals {
    /// Nodes in the cluster.
    all: usize,
    /// The plugin that turned the pod away altogether, and why.
    before: Option<(&'static str, Status)>,
    /// What was said of nodes, and by whom; empty for an extender.
    said: Vec<(&'static str, Status)>,
    /// Nodes, with an index into what was said.
    nodes: Box<[(Arc<str>, u16)]>,
    /// What is said of the nodes not looked at.
    absent: Option<Status>,
    /// How many verdicts on nodes were forgotten.
    forgotten: usize,
    /// The node on which room is made, and who goes for it.
    room: Option<(Arc<str>, Vec<String>)>,
}

impl Refusals {
    /// Of a cycle's failure.
    pub fn new(framework: &Framework, snapshot: &Snapshot, error: &FitError) -> Self {
        let name = |plugin: Option<usize>| plugin.map_or("", |plugin| framework.plugins[plugin].name());
        let before = (!error.pre_filter_message.is_empty()).then(|| {
            let status = error.absent.clone().unwrap_or_default();
            (name(error.plugins.iter().next()), status)
        });
        let said = error.statuses.iter().zip(&error.refused_by).map(|(status, by)| (name(*by), status.clone()));
        let verdict = |(place, index): &(u32, u16)| (snapshot.node(*place).object().name.clone(), *index);
        Self {
            all: error.all_nodes,
            absent: error.absent.clone().filter(|_| before.is_none()),
            before,
            said: said.collect(),
            nodes: error.by_node.iter().map(verdict).collect(),
            forgotten: 0,
            room: None,
        }
    }

    /// Room is made on a node, for which these pods go.
    pub fn made_room(&mut self, node: Arc<str>, victims: &[Arc<PodInfo>]) {
        self.room = Some((node, victims.iter().map(|victim| victim.key()).collect()));
    }
}

struct Told {
    serial: u64,
    pod: Arc<PodInfo>,
    profile: Arc<str>,
    attempt: u32,
    at: Timestamp,
    verdict: Verdict,
    message: String,
    /// What came of the binding.
    binding: Option<Result<(), String>>,
}

/// Namespace and name.
type Key = (Arc<str>, Arc<str>);

#[derive(Default)]
struct Inner {
    told: HashMap<Key, Told>,
    /// Pods with the serial of their decision, the oldest first.
    order: VecDeque<(Key, u64)>,
    serial: u64,
    verdicts: usize,
}

/// See the module.
#[derive(Default)]
pub struct Why(Mutex<Inner>);

impl std::fmt::Debug for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Why")
    }
}

fn key(pod: &PodInfo) -> Key {
    (pod.namespace.clone(), pod.name.clone())
}

impl Told {
    fn verdicts(&self) -> usize {
        match &self.verdict {
            Verdict::None(refusals) => refusals.nodes.len(),
            _ => 0,
        }
    }

    fn forget_nodes(&mut self) {
        if let Verdict::None(refusals) = &mut self.verdict {
            refusals.forgotten = refusals.nodes.len();
            refusals.nodes = Box::default();
        }
    }
}

impl Why {
    /// Keeps a decision in place of the pod's last one.
    pub fn tell(&self, pod: &Arc<PodInfo>, profile: &Arc<str>, attempt: u32, verdict: Verdict, message: String) {
        let mut inner = self.0.lock();
        inner.serial += 1;
        let told = Told {
            serial: inner.serial,
            pod: pod.clone(),
            profile: profile.clone(),
            attempt,
            at: Timestamp::now(),
            verdict,
            message,
            binding: None,
        };
        inner.verdicts += told.verdicts();
        let (key, serial) = (key(pod), told.serial);
        inner.order.push_back((key.clone(), serial));
        if let Some(old) = inner.told.insert(key, told) {
            inner.verdicts -= old.verdicts();
        }
        inner.bound();
    }

    /// Tells what came of the binding that followed a decision.
    pub fn bound(&self, pod: &PodInfo, result: Result<(), String>) {
        let mut inner = self.0.lock();
        if let Some(told) = inner.told.get_mut(&key(pod)).filter(|told| told.pod.uid == pod.uid) {
            told.binding = Some(result);
        }
    }

    /// The last decision for a pod; `None` if none is known.
    pub fn of(&self, namespace: &str, name: &str) -> Option<Value> {
        let inner = self.0.lock();
        inner.told.get(&(Arc::from(namespace), Arc::from(name))).map(Told::shown)
    }

    /// The pods whose last decision is known, the newest first, each with what was decided in a word.
    pub fn all(&self) -> Value {
        let inner = self.0.lock();
        let current = |(key, serial): &&(Key, u64)| inner.told.get(key).is_some_and(|told| told.serial == *serial);
        let line = |((namespace, name), _): &(Key, u64)| {
            let decision = inner.told.get(&(namespace.clone(), name.clone())).map(|told| told.word());
            json!({"namespace": &**namespace, "pod": &**name, "decision": decision})
        };
        Value::Array(inner.order.iter().rev().filter(current).map(line).collect())
    }
}

impl Inner {
    fn bound(&mut self) {
        if self.order.len() > 2 * PODS {
            let told = &self.told;
            self.order.retain(|(key, serial)| told.get(key).is_some_and(|told| told.serial == *serial));
        }
        while self.told.len() > PODS {
            let Some((key, serial)) = self.order.pop_front() else { break };
            if self.told.get(&key).is_some_and(|told| told.serial == serial)
                && let Some(old) = self.told.remove(&key)
            {
                self.verdicts -= old.verdicts();
            }
        }
        let mut oldest = 0;
        while self.verdicts > VERDICTS && oldest < self.order.len() {
            let (key, serial) = &self.order[oldest];
            oldest += 1;
            if let Some(told) = self.told.get_mut(key).filter(|told| told.serial == *serial) {
                self.verdicts -= told.verdicts();
                told.forget_nodes();
            }
        }
    }
}

impl Told {
    fn word(&self) -> &'static str {
        match (&self.verdict, &self.binding) {
            (Verdict::Node { .. }, None) => "Binding",
            (Verdict::Node { .. }, Some(Ok(()))) => "Bound",
            (Verdict::Node { .. }, Some(Err(_))) | (Verdict::Failed, _) => "Failed",
            (Verdict::None(_), _) => "Unschedulable",
        }
    }

    fn shown(&self) -> Value {
        let mut shown = json!({
            "namespace": &*self.pod.namespace,
            "pod": &*self.pod.name,
            "uid": &*self.pod.uid,
            "profile": &*self.profile,
            "attempt": self.attempt,
            "time": self.at.to_string(),
            "decision": self.word(),
        });
        if !self.message.is_empty() {
            shown["message"] = json!(self.message);
        }
        if let Some(Err(why)) = &self.binding {
            shown["message"] = json!(why);
        }
        match &self.verdict {
            Verdict::Node { name, feasible, evaluated, scores } => {
                shown["node"] = json!(&**name);
                shown["feasibleNodes"] = json!(feasible);
                shown["evaluatedNodes"] = json!(evaluated);
                if !scores.is_empty() {
                    let one = |s: &Score| json!({"plugin": s.plugin, "score": s.score, "weight": s.weight});
                    shown["scores"] = scores.iter().map(one).collect();
                    shown["totalScore"] = json!(scores.iter().map(|s| s.score * s.weight).sum::<i64>());
                }
            }
            Verdict::None(refusals) => refusals.show(&mut shown),
            Verdict::Failed => {}
        }
        shown
    }
}

impl Refusals {
    fn show(&self, shown: &mut Value) {
        let said = |(plugin, status): &(&'static str, Status)| json!({"plugin": plugin, "code": code_name(status.code), "reasons": status.reasons.as_slice()});
        shown["allNodes"] = json!(self.all);
        if let Some(before) = &self.before {
            shown["refusedBeforeNodes"] = said(before);
        }
        let verdict = |(name, index): &(Arc<str>, u16)| {
            let mut verdict = self.said.get(usize::from(*index)).map_or_else(|| json!({}), said);
            verdict["node"] = json!(&**name);
            verdict
        };
        if self.before.is_none() {
            shown["nodes"] = self.nodes.iter().map(verdict).collect();
        }
        let others = self.all.saturating_sub(self.nodes.len() + self.forgotten);
        if let (Some(absent), true) = (&self.absent, others > 0) {
            shown["otherNodes"] = json!({"count": others, "reasons": absent.reasons.as_slice()});
        }
        if self.forgotten > 0 {
            shown["forgottenNodes"] = json!(self.forgotten);
        }
        if let Some((node, victims)) = &self.room {
            shown["preemption"] = json!({"node": &**node, "victims": victims});
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::cache::Cache;

    fn pod(name: &str) -> Arc<PodInfo> {
        let pod = json!({"metadata": {"name": name, "namespace": "ns", "uid": name}});
        Cache::default().read_pod(&serde_json::from_value(pod).expect("a pod"))
    }

    fn refused(nodes: usize) -> Verdict {
        let nodes = (0..nodes).map(|index| (Arc::from(format!("n{index}")), 0)).collect();
        let said = vec![("NodePorts", Status::new(crate::framework::status::Code::Unschedulable, "no"))];
        Verdict::None(Refusals { all: 7, said, nodes, ..Refusals::default() })
    }

    #[test]
    fn the_newest_thousand_pods_are_known() {
        let (why, profile) = (Why::default(), Arc::from("p"));
        for index in 0..1500 {
            why.tell(&pod(&index.to_string()), &profile, 1, Verdict::Failed, String::new());
        }
        assert_eq!(why.of("ns", "499"), None);
        assert!(why.of("ns", "500").is_some());
        // One pod again and again keeps no other out.
        for _ in 0..5000 {
            why.tell(&pod("1400"), &profile, 1, Verdict::Failed, String::new());
        }
        assert_eq!(why.all().as_array().map(Vec::len), Some(PODS));
        assert!(why.0.lock().order.len() <= 2 * PODS);
        assert!(why.of("ns", "1400").is_some());
    }

    #[test]
    fn the_oldest_lose_their_nodes_first() {
        let (why, profile) = (Why::default(), Arc::from("p"));
        for index in 0..5 {
            why.tell(&pod(&index.to_string()), &profile, 1, refused(VERDICTS / 4), String::new());
        }
        let of = |name: &str| why.of("ns", name).expect("it is known");
        assert_eq!(of("0")["forgottenNodes"], json!(VERDICTS / 4));
        assert_eq!(of("4")["nodes"].as_array().map(Vec::len), Some(VERDICTS / 4));
        assert!(why.0.lock().verdicts <= VERDICTS);
    }

    #[test]
    fn decisions_are_told() {
        let (why, profile) = (Why::default(), Arc::from("p"));
        let shown = |name: &str| {
            let mut shown = why.of("ns", name).expect("it is known");
            shown.as_object_mut().expect("an object").remove("time");
            shown.to_string()
        };
        let mut refused = refused(1);
        if let Verdict::None(refusals) = &mut refused {
            refusals.made_room(Arc::from("n0"), &[pod("low")]);
        }
        why.tell(&pod("a"), &profile, 2, refused, "0/7 nodes are available".to_owned());
        expect![[r#"{"allNodes":7,"attempt":2,"decision":"Unschedulable","message":"0/7 nodes are available","namespace":"ns","nodes":[{"code":"Unschedulable","node":"n0","plugin":"NodePorts","reasons":["no"]}],"pod":"a","preemption":{"node":"n0","victims":["ns/low"]},"profile":"p","uid":"a"}"#]]
        .assert_eq(&shown("a"));
        let scores = vec![
            Score { plugin: "NodeAffinity", score: 50, weight: 2 },
            Score { plugin: "ImageLocality", score: 7, weight: 1 },
        ];
        let node = Verdict::Node { name: Arc::from("n"), feasible: 3, evaluated: 5, scores };
        why.tell(&pod("b"), &profile, 1, node, String::new());
        why.bound(&pod("b"), Ok(()));
        expect![[r#"{"attempt":1,"decision":"Bound","evaluatedNodes":5,"feasibleNodes":3,"namespace":"ns","node":"n","pod":"b","profile":"p","scores":[{"plugin":"NodeAffinity","score":50,"weight":2},{"plugin":"ImageLocality","score":7,"weight":1}],"totalScore":107,"uid":"b"}"#]]
        .assert_eq(&shown("b"));
        why.bound(&pod("b"), Err("gone".to_owned()));
        assert!(shown("b").contains(r#""decision":"Failed""#) && shown("b").contains(r#""message":"gone""#));
        expect![[r#"[{"decision":"Failed","namespace":"ns","pod":"b"},{"decision":"Unschedulable","namespace":"ns","pod":"a"}]"#]]
            .assert_eq(&why.all().to_string());
    }
}
