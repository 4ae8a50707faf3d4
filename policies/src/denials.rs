//! Events that tell whose connection was dropped: packets that the rules tell of, with the pods' names.
//!
//! The Event is on the pod whose policies did not allow it, whichever end that is: in its namespace are those who made them,
//! and they are told what others tried; who tried is told nothing of policies that are not theirs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use component::Supervisor;
use controller::Recorder;
use k8s_openapi::api::core::v1::ObjectReference;
use netfilter::{Log, Seen};
use tokio::sync::mpsc;

use crate::compile::base::LOG_GROUP;
use crate::compile::subject_policies;
use crate::facts::Facts;
use crate::health::Health;
use crate::model::{Direction, Pod};
use crate::tracker::Tracker;

/// The Event's reason.
pub const REASON: &str = "NetworkPolicyDenied";
/// The same is told again after this long.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// What was told is remembered of so many.
const REMEMBERED: usize = 4096;
/// Packets that wait to be told of; more are counted alone.
const WAITING: usize = 256;
/// How long the thread that listens waits before it looks whether it should end.
const PATIENCE: Duration = Duration::from_millis(500);

/// Tells of dropped packets until `own` is stopped.
///
/// # Errors
/// There is nothing that could be listened to.
pub async fn run(
    tracker: Arc<Tracker>,
    recorder: Recorder,
    health: Arc<Health>,
    own: Supervisor,
) -> anyhow::Result<()> {
    let mut log = Log::open(LOG_GROUP)?;
    let (sender, mut seen) = mpsc::channel::<Seen>(WAITING);
    let (cancel, untold) = (own.token(), health.clone());
    let listening = own.thread("policy_log", move || {
        while !cancel.is_cancelled() {
            for seen in log.next(PATIENCE)? {
                if sender.try_send(seen).is_err() {
                    untold.untold.add(1);
                }
            }
        }
        std::io::Result::Ok(())
    })?;
    let mut told = Told::default();
    while let Some(Some(seen)) = own.until_stopped(seen.recv()).await {
        let denial = denial(&tracker.facts(), &seen);
        match denial.filter(|(pod, message)| told.is_due((pod.uid.clone(), message.clone()), Instant::now())) {
            Some((pod, message)) => recorder.event(&reference(&pod), "Warning", REASON, message),
            None => health.untold.add(1),
        }
    }
    Ok(listening.await??)
}

/// What was told, and when.
#[derive(Default)]
struct Told(HashMap<(String, String), Instant>);

impl Told {
    fn is_due(&mut self, what: (String, String), now: Instant) -> bool {
        if self.0.len() >= REMEMBERED {
            self.0.retain(|_, at| now.duration_since(*at) < AGAIN_AFTER);
            // So many are new: at worst they are told again.
            if self.0.len() >= REMEMBERED {
                self.0.clear();
            }
        }
        let last = self.0.get(&what).copied();
        let due = last.is_none_or(|at| now.duration_since(at) >= AGAIN_AFTER);
        if due {
            self.0.insert(what, now);
        }
        due
    }
}

fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(pod.namespace.clone()),
        name: Some(pod.name.clone()),
        uid: Some(pod.uid.clone()),
        ..Default::default()
    }
}

/// The pod whose policies did not allow it, and the words; none where no such pod is known any more.
fn denial(facts: &Facts, seen: &Seen) -> Option<(Arc<Pod>, String)> {
    let direction = Direction::ALL.into_iter().find(|direction| direction.as_str() == seen.words)?;
    let (subject, other) = match direction {
        Direction::Ingress => (seen.destination, seen.source),
        Direction::Egress => (seen.source, seen.destination),
    };
    let pod = facts.owner(subject.ip())?.clone();
    let protocol = match seen.protocol {
        1 => "ICMP".to_owned(),
        58 => "ICMPv6".to_owned(),
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        132 => "SCTP".to_owned(),
        other => format!("protocol {other}"),
    };
    let other_pod = facts.owner(other.ip()).map(|pod| format!(" (pod {}/{})", pod.namespace, pod.name));
    let other_pod = other_pod.unwrap_or_default();
    let port = seen.destination.port();
    let names: Vec<&str> = subject_policies(&facts.policies, &pod, direction).collect();
    let why = match names.as_slice() {
        [] => "the namespace is isolated, and no policy opens it".to_owned(),
        [one] => format!("policy {one} has no {} rule that allows it", direction.as_str()),
        all => format!("policies {} have no {} rule that allows it", all.join(", "), direction.as_str()),
    };
    let what = match (direction, port) {
        (Direction::Ingress, 0) => format!("{protocol} from {}{other_pod}", other.ip()),
        (Direction::Ingress, port) => format!("{protocol} from {}{other_pod} to port {port}", other.ip()),
        (Direction::Egress, 0) => format!("{protocol} to {}{other_pod}", other.ip()),
        (Direction::Egress, port) => format!("{protocol} to {}{other_pod} port {port}", other.ip()),
    };
    Some((pod, format!("Dropped {what}: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model;
    use serde_json::json;

    fn facts() -> Facts {
        let mut facts = Facts::default();
        for (name, ip) in [("web", "10.1.0.1"), ("db", "10.1.0.2")] {
            let pod = serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "shop", "uid": name, "labels": {"app": name}},
                "spec": {"containers": [], "nodeName": "n1"}, "status": {"phase": "Running", "podIP": ip}}));
            facts.pod(&("shop".into(), name.into()), model::pod(&pod.unwrap(), "n1"));
        }
        for (name, types) in [("closed", json!(["Ingress", "Egress"])), ("quiet", json!(["Egress"]))] {
            let policy = serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "shop"},
                "spec": {"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": types}}));
            facts.policies.insert(("shop".into(), name.into()), Arc::new(model::policy(&policy.unwrap())));
        }
        facts
    }

    fn said(words: &str, source: &str, destination: &str, protocol: u8) -> Option<String> {
        let [source, destination] = [source, destination].map(|at| at.parse().unwrap());
        let seen = Seen { words: words.to_owned(), source, destination, protocol };
        denial(&facts(), &seen).map(|(pod, message)| format!("{}: {message}", pod.name))
    }

    #[test]
    fn the_pod_whose_policies_did_not_allow_it_is_told() {
        let check = |said: Option<String>, expected: &str| assert_eq!(said.as_deref(), Some(expected));
        check(
            said("ingress", "10.1.0.1:40000", "10.1.0.2:5432", 6),
            "db: Dropped TCP from 10.1.0.1 (pod shop/web) to port 5432: policy closed has no ingress rule that allows it",
        );
        check(
            said("egress", "10.1.0.2:40000", "192.0.2.1:53", 17),
            "db: Dropped UDP to 192.0.2.1 port 53: policies closed, quiet have no egress rule that allows it",
        );
        check(
            said("egress", "10.1.0.1:0", "192.0.2.1:0", 1),
            "web: Dropped ICMP to 192.0.2.1: the namespace is isolated, and no policy opens it",
        );
        assert_eq!(said("ingress", "10.1.0.1:1", "10.1.0.9:1", 6), None, "that pod is gone");
        assert_eq!(said("unknown", "10.1.0.9:1", "10.1.0.1:1", 6), None);
    }

    #[test]
    fn the_same_is_told_once_a_minute() {
        let (mut told, now) = (Told::default(), Instant::now());
        let what = |n: usize| ("uid".to_owned(), n.to_string());
        assert!(told.is_due(what(1), now) && !told.is_due(what(1), now) && told.is_due(what(2), now));
        assert!(told.is_due(what(1), now + AGAIN_AFTER));
        (0..REMEMBERED * 2).for_each(|n| assert!(told.is_due(what(n + 10), now)));
        assert!(told.0.len() <= REMEMBERED);
    }
}
