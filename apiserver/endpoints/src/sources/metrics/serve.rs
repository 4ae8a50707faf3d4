//! The answers: `NodeMetrics` and `PodMetrics`, of the nodes and pods that there are, and their Tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use cache::Entry;
use jiff::Timestamp;
use machinery::gvk::GroupResource;
use machinery::quantity::{Format, Quantity};
use machinery::status::StatusError;
use model::options::List;
use model::request_info::RequestInfo;
use serde_json::{Value, json};
use writes::strategy::WriteContext;

use super::points::{Points, Usage};
use super::scrape::Scraper;
use super::{GROUP, VERSION};
use crate::Server;
use crate::virtual_::Virtual;

/// `nodes` or `pods`: what the nodes or pods use that there are.
pub(super) struct Measured(pub Arc<Scraper>, pub Of);

/// Whose figures are asked for.
#[derive(Clone, Copy)]
pub(super) enum Of {
    /// Nodes'.
    Nodes,
    /// Pods'.
    Pods,
}

impl Of {
    fn resource(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Pods => "pods",
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Nodes => "NodeMetrics",
            Self::Pods => "PodMetrics",
        }
    }

    /// A node or pod that is not there, as metrics-server calls it.
    fn missing(self, name: &str) -> StatusError {
        let resource = if matches!(self, Self::Nodes) { "node" } else { "pods" };
        StatusError::not_found(&GroupResource::new("", resource), name)
    }

    /// One that is there and was not measured.
    fn not_measured(self, namespace: &str, name: &str) -> StatusError {
        let name = if matches!(self, Self::Nodes) { name.to_owned() } else { format!("{namespace}/{name}") };
        StatusError::not_found(&GroupResource::new(GROUP, self.resource()), &name)
    }

    fn object(self, points: &Points, entry: &Entry, server: &Server, now: Timestamp) -> Option<Value> {
        match self {
            Self::Nodes => node(points, entry, server, now),
            Self::Pods => pod(points, entry, server, now),
        }
    }
}

/// What an object is called in an answer of its own.
fn kind(mut object: Value, kind: &str) -> Value {
    object["kind"] = kind.into();
    object["apiVersion"] = format!("{GROUP}/{VERSION}").into();
    object
}

#[async_trait]
impl Virtual for Measured {
    async fn serve(
        &self,
        server: &Server,
        cx: &WriteContext<'_>,
        info: &RequestInfo,
        _: Value,
    ) -> Result<Value, StatusError> {
        let Self(scraper, of) = self;
        let named = (info.verb != "list").then_some(info.name.as_str());
        let found = found(of.resource(), server, cx.namespace, named, info).await?;
        if let (Some(name), true) = (named, found.is_empty()) {
            return Err(of.missing(name));
        }
        scraper.asked().await;
        let points = scraper.points.read();
        let mut all = found.iter().filter_map(|entry| of.object(&points, entry, server, cx.now));
        match named {
            Some(name) => {
                let object = all.next().ok_or_else(|| of.not_measured(&info.namespace, name))?;
                Ok(kind(object, of.kind()))
            }
            None => Ok(json!({"items": all.collect::<Vec<_>>()})),
        }
    }
}

/// The nodes or pods that the question is about: the named one, or all that its selectors take.
async fn found(
    resource: &str,
    server: &Server,
    namespace: Option<&str>,
    named: Option<&str>,
    info: &RequestInfo,
) -> Result<Vec<Arc<Entry>>, StatusError> {
    server.registry.feed().caught_up().await?;
    let row = server.registry.built_in().of(&GroupResource::new("", resource));
    let Some((row, cache)) = row.and_then(|row| Some((row, server.registry.cache(row)?))) else {
        return Ok(Vec::new());
    };
    if let Some(name) = named {
        return Ok(cache.get(&model::store::key(namespace, name)).into_iter().collect());
    }
    let options = List::parse(&info.query)?;
    let taken = |entry: &&Arc<Entry>| {
        let fields = [("metadata.name", entry.name()), ("metadata.namespace", entry.namespace().unwrap_or_default())];
        options.fields.matches(&fields[..]) && options.labels.matches(&entry.indexed(&row.selectable).labels)
    };
    Ok(cache.snapshot().range(namespace, None).filter(taken).cloned().collect())
}

fn node(points: &Points, entry: &Entry, server: &Server, now: Timestamp) -> Option<Value> {
    let used = points.node(entry.name())?;
    let mut object = measured(metadata(entry, "nodes", server, now), used);
    object["usage"] = usage(used);
    Some(object)
}

fn pod(points: &Points, entry: &Entry, server: &Server, now: Timestamp) -> Option<Value> {
    let key = (entry.namespace()?.into(), entry.name().into());
    let used = points.pod(&key)?;
    // The time of the one that was measured first is the pod's.
    let first = used.iter().map(|(_, usage)| *usage).min_by_key(|usage| usage.at_ms)?;
    let mut object = measured(metadata(entry, "pods", server, now), first);
    let containers = used.iter().map(|(name, used)| json!({"name": name, "usage": usage(*used)}));
    object["containers"] = containers.collect();
    Some(object)
}

fn metadata(entry: &Entry, resource: &str, server: &Server, now: Timestamp) -> Value {
    let row = server.registry.built_in().of(&GroupResource::new("", resource));
    let selectable = row.map_or(&[][..], |row| &row.selectable);
    let mut metadata = json!({"name": entry.name(), "creationTimestamp": seconds(now)});
    if let Some(namespace) = entry.namespace() {
        metadata["namespace"] = namespace.into();
    }
    let labels: BTreeMap<&str, &str> =
        entry.indexed(selectable).labels.iter().map(|(name, value)| (&**name, &**value)).collect();
    if !labels.is_empty() {
        metadata["labels"] = json!(labels);
    }
    metadata
}

fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn measured(metadata: Value, used: Usage) -> Value {
    let at = Timestamp::from_millisecond(used.at_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    let window = machinery::duration::text(used.window_ms.saturating_mul(1_000_000));
    json!({"metadata": metadata, "timestamp": seconds(at), "window": window})
}

fn usage(used: Usage) -> Value {
    let cpu = Quantity::parse(&format!("{}n", used.cpu_ns)).map(|q| q.canonical()).unwrap_or_default();
    let memory = Quantity::new(i64::try_from(used.memory_bytes).unwrap_or(i64::MAX), Format::BinarySi).canonical();
    json!({"cpu": cpu, "memory": memory})
}

/// Of a Table: a pod's containers together.
pub(super) fn cells(object: &Value, _: Timestamp) -> Vec<Value> {
    let name = machinery::meta::name(object);
    let all: Vec<&Value> = match object["containers"].as_array() {
        Some(containers) => containers.iter().map(|container| &container["usage"]).collect(),
        None => vec![&object["usage"]],
    };
    let sum = |resource: &str| {
        let amounts = all.iter().filter_map(|usage| Quantity::from_value(&usage[resource]));
        amounts.fold(Quantity::zero(), |sum, amount| sum.add(&amount)).canonical()
    };
    vec![name.into(), sum("cpu").into(), sum("memory").into(), object["window"].clone()]
}
