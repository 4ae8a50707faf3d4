//! Extenders: programs beside the scheduler that are asked over HTTP which nodes a pod may have, which of them are better,
//! who should go for it, and that may bind it (`scheduler/extender.go`).
//!
//! They are asked within the cycle, which waits for them: so it is upstream, and so a decision is one. Only with an
//! extender does the cache keep whole pods and nodes, for they are sent.

mod config;
mod http;
mod preempt;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use serde_json::{Value, json};

pub use self::{
    config::{ExtenderConfig, validate},
    http::Http,
};
use crate::{
    cache::{Snapshot, pod::PodInfo},
    fit_error::FitError,
    framework::{
        Framework,
        events::Action,
        extension::{MAX_NODE_SCORE, Plugin},
        status::{Code, Status},
    },
};

/// What extenders think the best node deserves.
const MAX_EXTENDER_SCORE: i64 = 10;

/// How a question gets to an extender and its answer back.
#[async_trait::async_trait]
pub trait Ask: Send + Sync {
    /// Asks, and waits for the answer; not from within the runtime.
    fn ask(&self, verb: &str, question: &Value) -> Result<Value, String>;
    /// The same from within the runtime.
    async fn tell(&self, verb: &str, question: &Value) -> Result<Value, String>;
}

/// One extender.
pub struct Extender {
    config: ExtenderConfig,
    managed: HashSet<String>,
    ask: Arc<dyn Ask>,
}

impl Extender {
    /// One that is asked by that way.
    pub fn new(config: ExtenderConfig, ask: Arc<dyn Ask>) -> Self {
        let managed = config.managed_resources.iter().map(|resource| resource.name.clone()).collect();
        Self { config, managed, ask }
    }

    /// Whether the pod is any of its business: it asks for a resource that the extender looks after, or it looks after
    /// everything.
    pub fn is_interested(&self, pod: &PodInfo) -> bool {
        let Some(spec) = pod.object.as_ref().and_then(|object| object.spec.as_ref()) else { return false };
        let asks = |container: &k8s_openapi::api::core::v1::Container| {
            let Some(resources) = &container.resources else { return false };
            let lists = [&resources.requests, &resources.limits];
            lists.into_iter().flatten().any(|list| list.keys().any(|name| self.managed.contains(name)))
        };
        self.managed.is_empty() || spec.containers.iter().chain(spec.init_containers.iter().flatten()).any(asks)
    }

    /// Whether it may be out of order.
    pub fn is_ignorable(&self) -> bool {
        self.config.ignorable
    }

    /// Whether it binds pods itself.
    pub fn binds(&self) -> bool {
        !self.config.bind_verb.is_empty()
    }

    fn about(&self, pod: &PodInfo, snapshot: &Snapshot, places: &[u32]) -> Value {
        let nodes = places.iter().map(|place| snapshot.node(*place).object());
        if self.config.node_cache_capable {
            let names: Vec<&str> = nodes.map(|node| &*node.name).collect();
            return json!({"Pod": pod.object.as_deref(), "Nodes": null, "NodeNames": names});
        }
        let items: Vec<&k8s_openapi::api::core::v1::Node> = nodes.filter_map(|node| node.object.as_deref()).collect();
        json!({"Pod": pod.object.as_deref(), "Nodes": {"metadata": {}, "items": items}, "NodeNames": null})
    }

    /// Of these nodes those that it admits; notes why it does not the others.
    fn filter(
        &self,
        pod: &PodInfo,
        snapshot: &Snapshot,
        places: &[u32],
        refusals: &mut Vec<(u32, Status)>,
    ) -> Result<Vec<u32>, String> {
        let answer = self.ask.ask(&self.config.filter_verb, &self.about(pod, snapshot, places))?;
        if let Some(error) = field(&answer, "Error").and_then(Value::as_str).filter(|error| !error.is_empty()) {
            return Err(error.to_owned());
        }
        let items = field(&answer, "Nodes").and_then(|nodes| field(nodes, "items")).and_then(Value::as_array);
        let names: Vec<&str> = match field(&answer, "NodeNames").and_then(Value::as_array) {
            Some(names) if self.config.node_cache_capable => names.iter().filter_map(Value::as_str).collect(),
            _ => items.into_iter().flatten().filter_map(|node| node["metadata"]["name"].as_str()).collect(),
        };
        let known: BTreeMap<&str, u32> =
            places.iter().map(|place| (&*snapshot.node(*place).object().name, *place)).collect();
        let mut admitted = Vec::new();
        for name in names {
            admitted.push(*known.get(name).ok_or_else(|| {
                let url = &self.config.url_prefix;
                format!("extender {url:?} claims a filtered node {name:?} which is not found in the input node list")
            })?);
        }
        let failed = |name: &str| field(&answer, name).and_then(Value::as_object).cloned().unwrap_or_default();
        let for_good = failed("FailedAndUnresolvableNodes");
        let mut note = |name: &str, code: Code, why: &Value| {
            if let Some(place) = snapshot.place(name) {
                refusals.push((place, Status::new(code, why.as_str().unwrap_or_default().to_owned())));
            }
        };
        for (name, why) in &for_good {
            note(name, Code::UnschedulableAndUnresolvable, why);
        }
        for (name, why) in failed("FailedNodes").iter().filter(|(name, _)| !for_good.contains_key(*name)) {
            note(name, Code::Unschedulable, why);
        }
        Ok(admitted)
    }

    /// What it adds to the scores of nodes by name.
    fn prioritize(&self, pod: &PodInfo, snapshot: &Snapshot, places: &[u32]) -> Result<Vec<(String, i64)>, String> {
        let answer = self.ask.ask(&self.config.prioritize_verb, &self.about(pod, snapshot, places))?;
        let scored = |entry: &Value| {
            let score = field(entry, "Score")?.as_i64()?;
            let scaled = score.saturating_mul(self.config.weight).saturating_mul(MAX_NODE_SCORE / MAX_EXTENDER_SCORE);
            Some((field(entry, "Host")?.as_str()?.to_owned(), scaled))
        };
        Ok(answer.as_array().into_iter().flatten().filter_map(scored).collect())
    }

    /// Has it bind a pod.
    pub async fn bind(&self, pod: &PodInfo, node_name: &str) -> Result<(), String> {
        let question =
            json!({"PodName": &*pod.name, "PodNamespace": &*pod.namespace, "PodUID": &*pod.uid, "Node": node_name});
        let answer = self.ask.tell(&self.config.bind_verb, &question).await?;
        match field(&answer, "Error").and_then(Value::as_str).unwrap_or_default() {
            "" => Ok(()),
            error => Err(error.to_owned()),
        }
    }
}

/// A field by its name, whatever its case: extenders write it as their language would.
fn field<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    let object = object.as_object()?;
    let other = || object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    object.get(name).or_else(other).filter(|value| !value.is_null())
}

/// Asks all extenders about nodes that the plugins admit, each about those that are left.
pub fn filter(
    framework: &Framework,
    snapshot: &Snapshot,
    pod: &PodInfo,
    feasible: &mut Vec<u32>,
    error: &mut FitError,
) -> Result<(), String> {
    let before = feasible.len();
    for extender in framework.extenders.iter() {
        if feasible.is_empty() {
            break;
        }
        if extender.config.filter_verb.is_empty() || !extender.is_interested(pod) {
            continue;
        }
        let mut refusals = Vec::new();
        match extender.filter(pod, snapshot, feasible, &mut refusals) {
            Ok(admitted) => {
                *feasible = admitted;
                refusals.into_iter().for_each(|(place, status)| error.refuse(place, status));
            }
            Err(why) if extender.is_ignorable() => {
                tracing::info!(extender = extender.config.url_prefix, why, "skipping an extender that failed");
            }
            Err(why) => return Err(why),
        }
    }
    if feasible.len() != before
        && let Some(index) = framework.plugins.iter().position(|plugin| plugin.name() == Outside.name())
    {
        error.plugins.insert(index);
    }
    Ok(())
}

/// Adds what extenders think of nodes to their scores. One that fails has no say.
pub fn prioritize(framework: &Framework, snapshot: &Snapshot, pod: &PodInfo, places: &[u32], totals: &mut [i64]) {
    for extender in framework.extenders.iter() {
        if extender.config.prioritize_verb.is_empty() || !extender.is_interested(pod) {
            continue;
        }
        match extender.prioritize(pod, snapshot, places) {
            Ok(scores) => {
                let scores: BTreeMap<String, i64> = scores.into_iter().collect();
                for (place, total) in places.iter().zip(totals.iter_mut()) {
                    *total += scores.get(&*snapshot.node(*place).object().name).copied().unwrap_or_default();
                }
            }
            Err(why) => tracing::debug!(extender = extender.config.url_prefix, why, "an extender gave no scores"),
        }
    }
}

pub use preempt::preempt;

/// Stands for all extenders among the plugins: a pod that they turned away is tried again at whatever happens.
pub struct Outside;

impl Plugin for Outside {
    fn name(&self) -> &'static str {
        "Extender"
    }

    fn events(&self) -> Action {
        Action::ANY
    }
}
