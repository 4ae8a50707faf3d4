//! What extenders say to a preemption: of the nodes where room can be made they may strike some, and name other victims.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{Extender, field};
use crate::{
    cache::{Snapshot, pod::PodInfo},
    framework::Framework,
    preemption::Candidate,
};

/// The candidates that all extenders agree to.
///
/// # Errors
/// An extender that may not fail did.
pub fn preempt(
    framework: &Framework,
    snapshot: &Snapshot,
    pod: &PodInfo,
    mut candidates: Vec<Candidate>,
) -> Result<Vec<Candidate>, String> {
    for extender in framework.extenders.iter() {
        if candidates.is_empty() {
            break;
        }
        if extender.config.preempt_verb.is_empty() || !extender.is_interested(pod) {
            continue;
        }
        match extender.process(snapshot, pod, &candidates) {
            Ok(agreed) => candidates = agreed,
            Err(why) if extender.is_ignorable() => {
                tracing::info!(extender = extender.config.url_prefix, why, "skipping an extender that failed");
            }
            Err(why) => return Err(why),
        }
    }
    Ok(candidates)
}

impl Extender {
    fn process(&self, snapshot: &Snapshot, pod: &PodInfo, candidates: &[Candidate]) -> Result<Vec<Candidate>, String> {
        let named = |describe: &dyn Fn(&PodInfo) -> Value| -> BTreeMap<String, Value> {
            let victims =
                |candidate: &Candidate| candidate.victims.iter().map(|victim| describe(victim)).collect::<Vec<_>>();
            let entry = |candidate: &Candidate| {
                let value = json!({"Pods": victims(candidate), "NumPDBViolations": candidate.violations});
                (snapshot.node(candidate.place).object().name.to_string(), value)
            };
            candidates.iter().map(entry).collect()
        };
        let question = if self.config.node_cache_capable {
            let meta = named(&|victim| json!({"UID": &*victim.uid}));
            json!({"Pod": pod.object.as_deref(), "NodeNameToVictims": null, "NodeNameToMetaVictims": meta})
        } else {
            let whole = named(&|victim| json!(victim.object.as_deref()));
            json!({"Pod": pod.object.as_deref(), "NodeNameToVictims": whole, "NodeNameToMetaVictims": null})
        };
        let answer = self.ask.ask(&self.config.preempt_verb, &question)?;
        let agreed = field(&answer, "NodeNameToMetaVictims").and_then(Value::as_object);
        let mut result = Vec::new();
        for (name, victims) in agreed.into_iter().flatten() {
            let place = snapshot.place(name).filter(|place| snapshot.is_present(*place));
            let place = place.ok_or_else(|| format!("nodeinfo not found for node name {name:?}"))?;
            let uids = field(victims, "Pods").and_then(Value::as_array).into_iter().flatten();
            let mut found: Vec<Arc<PodInfo>> = Vec::new();
            for uid in uids.filter_map(|entry| field(entry, "UID")?.as_str()) {
                let there = snapshot.node(place).pods.iter().find(|other| &*other.uid == uid);
                found.push(there.cloned().ok_or_else(|| {
                    let url = &self.config.url_prefix;
                    format!(
                        "extender: {url} claims to preempt pod (UID: {uid}) on node: {name}, but the pod is not found on that node"
                    )
                })?);
            }
            if found.is_empty() {
                if self.is_ignorable() {
                    continue;
                }
                return Err(format!("expected at least one victim pod on node {name:?}"));
            }
            let violations = field(victims, "NumPDBViolations").and_then(Value::as_u64).unwrap_or_default() as usize;
            result.push(Candidate { place, victims: found, violations });
        }
        Ok(result)
    }
}
