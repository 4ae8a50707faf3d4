//! What pods use, asked of the metrics' APIs: `metrics.k8s.io`, and those that adapters may serve, `custom.metrics.k8s.io`
//! and `external.metrics.k8s.io`. Upstream: `metrics/client.go`, and `k8s.io/metrics/pkg/client`.
//!
//! Of a namespace with several autoscalers all figures are asked for at once, unless it has many more pods than those
//! concern; what was answered is good for some seconds, which is less than the time between two measurements.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use form_urlencoded::Serializer;
use http::Request;
use k8s_openapi::{
    api::{
        autoscaling::v2::{CrossVersionObjectReference, MetricIdentifier, MetricSpec},
        core::v1::Pod,
    },
    apimachinery::pkg::{
        api::resource::Quantity as ApiQuantity,
        apis::meta::v1::{APIGroup, LabelSelector as ApiSelector, Time},
    },
    jiff::{SignedDuration, Timestamp},
};
use kube::Client;
use machinery::selector::LabelSelector;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{sync::Mutex, time::Instant};

use super::{
    proposals::{Reading, Unread, go_selector, milli},
    requests::{Sample, Samples},
    scale::{self, Scales},
    selected::Selected,
};
use crate::util::key;

/// How long the version of an adapter's API is.
const FRESH_VERSION: Duration = Duration::from_secs(30);
/// Pods of a namespace for each of its autoscalers: above that, each asks for its own.
const SHARED_PODS: usize = 200;
/// Of a metric whose adapter says no window.
const WINDOW: SignedDuration = SignedDuration::from_secs(60);

#[derive(Deserialize)]
struct List<T> {
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

#[derive(Debug, Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
}

#[derive(Debug, Deserialize)]
struct PodMetrics {
    metadata: Named,
    timestamp: Time,
    window: String,
    #[serde(default)]
    containers: Vec<ContainerMetrics>,
}

#[derive(Debug, Deserialize)]
struct ContainerMetrics {
    name: String,
    usage: BTreeMap<String, ApiQuantity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetricValue {
    described_object: Option<Named>,
    timestamp: Option<Time>,
    #[serde(alias = "window")]
    window_seconds: Option<i64>,
    value: ApiQuantity,
}

/// What a namespace's pods use, or those of one selector, by their names.
type Figures = Result<Arc<HashMap<String, PodMetrics>>, String>;
/// What was answered and when; nothing yet while it is being asked for.
type Answer = Arc<Mutex<Option<(Instant, Figures)>>>;

/// See the module.
pub(super) struct Metrics {
    client: Client,
    /// How long an answer is good for.
    fresh: Duration,
    /// By namespace and selector; the empty selector is that of all.
    answers: parking_lot::Mutex<HashMap<(String, String), (Instant, Answer)>>,
    /// Whether the autoscalers of a namespace share an answer, and since when.
    shared: parking_lot::Mutex<HashMap<String, (Instant, bool)>>,
    custom: Mutex<Option<(Instant, &'static str)>>,
}

/// Whose metrics are asked for.
#[derive(Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) namespace: &'a str,
    pub(super) selector: &'a LabelSelector,
    /// Those that the selector takes.
    pub(super) pods: &'a [Arc<Pod>],
}

impl Metrics {
    /// Every autoscaler has its turn once in `period`: an answer is good for a third of it.
    pub(super) fn new(client: Client, period: Duration) -> Self {
        let fresh = period / 3;
        Self { client, fresh, answers: Default::default(), shared: Default::default(), custom: Mutex::default() }
    }

    /// What is known of one metric.
    pub(super) async fn read(
        &self,
        spec: &MetricSpec,
        of: Of<'_>,
        selected: &Selected,
        scales: &Scales,
    ) -> Result<Reading, Unread> {
        match (spec.type_.as_str(), &spec.object, &spec.pods, &spec.resource, &spec.container_resource, &spec.external)
        {
            ("Resource", _, _, Some(source), ..) => self.of_resource(of, selected, &source.name, "").await,
            ("ContainerResource", _, _, _, Some(source), _) => {
                self.of_resource(of, selected, &source.name, &source.container).await
            }
            ("Pods", _, Some(source), ..) => self.of_pods(of, &source.metric).await,
            ("Object", Some(source), ..) => {
                let (metric, object) = (&source.metric, &source.described_object);
                let selector = own_selector(metric.selector.as_ref())?;
                let value = self.of_object(of.namespace, object, &metric.name, &selector, scales).await;
                // As upstream has it: its words are not in the order of what they are about.
                let words = |why| {
                    let (name, kind, object) = (&metric.name, &object.kind, &object.name);
                    Unread::Asked(format!("unable to get metric {name}: {kind} on {} {object}/{why}", of.namespace))
                };
                value.map(Reading::Object).map_err(words)
            }
            ("External", .., Some(source)) => {
                let metric = &source.metric;
                let selector = own_selector(metric.selector.as_ref())?;
                let values = self.external(of.namespace, &metric.name, &selector).await;
                let words = |why| {
                    let (name, own) = (&metric.name, go_selector(metric.selector.as_ref()));
                    Unread::Asked(format!("unable to get external metric {}/{name}/{own}: {why}", of.namespace))
                };
                values.map(Reading::External).map_err(words)
            }
            _ => Err(Unread::Asked(String::new())),
        }
    }

    async fn of_resource(
        &self,
        of: Of<'_>,
        selected: &Selected,
        resource: &str,
        container: &str,
    ) -> Result<Reading, Unread> {
        let selector = of.selector.to_string();
        let shared = self.is_shared(of.namespace, selected);
        let asked = if shared { "" } else { selector.as_str() };
        let figures = self.figures(of.namespace, asked).await.map_err(Unread::Asked)?;
        let own: Vec<&PodMetrics> = match shared {
            true => of.pods.iter().filter_map(|pod| figures.get(key::name(&pod.metadata))).collect(),
            false => figures.values().collect(),
        };
        if own.is_empty() {
            return Err(Unread::Asked("no metrics returned from resource metrics API".into()));
        }
        let sample = |metrics: &PodMetrics| {
            let value = usage(metrics, resource, container)?;
            let window = machinery::duration::parse(&metrics.window);
            let window = window.map_or(SignedDuration::ZERO, SignedDuration::from_nanos);
            Some((metrics.metadata.name.clone(), Sample { at: metrics.timestamp.0, window, value }))
        };
        Ok(Reading::Pods(own.into_iter().filter_map(sample).collect()))
    }

    /// Counting the pods of a namespace costs more than one turn should: what came of it is good for as long as an answer.
    fn is_shared(&self, namespace: &str, selected: &Selected) -> bool {
        let mut known = self.shared.lock();
        known.retain(|_, (at, _)| at.elapsed() < self.fresh);
        if let Some((_, shared)) = known.get(namespace) {
            return *shared;
        }
        let autoscalers = selected.autoscalers(namespace);
        let shared = autoscalers > 1 && selected.number(namespace) <= autoscalers.saturating_mul(SHARED_PODS);
        known.insert(namespace.to_owned(), (Instant::now(), shared));
        shared
    }

    /// Whoever asks while it is being asked waits for the same answer.
    async fn figures(&self, namespace: &str, selector: &str) -> Figures {
        let answer = {
            let mut answers = self.answers.lock();
            answers.retain(|_, (used, _)| used.elapsed() < self.fresh * 2);
            let (used, answer) = answers
                .entry((namespace.to_owned(), selector.to_owned()))
                .or_insert_with(|| (Instant::now(), Answer::default()));
            *used = Instant::now();
            answer.clone()
        };
        let mut answer = answer.lock().await;
        if let Some((_, figures)) = answer.as_ref().filter(|(at, _)| at.elapsed() < self.fresh) {
            return figures.clone();
        }
        let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods");
        let listed = self.list(&path, &[("labelSelector", selector)], "get pods.metrics.k8s.io").await;
        let by_name =
            |list: Vec<PodMetrics>| Arc::new(list.into_iter().map(|m| (m.metadata.name.clone(), m)).collect());
        let failed = |why| format!("unable to fetch metrics from resource metrics API: {why}");
        let figures: Figures = listed.map(by_name).map_err(failed);
        answer.insert((Instant::now(), figures)).1.clone()
    }

    async fn of_pods(&self, of: Of<'_>, metric: &MetricIdentifier) -> Result<Reading, Unread> {
        let own = own_selector(metric.selector.as_ref())?;
        let selector = of.selector.to_string();
        let query = [("labelSelector", selector.as_str()), ("metricLabelSelector", own.as_str())];
        let place = format!("namespaces/{}/pods/*/{}", of.namespace, metric.name);
        let values = self.adapted(&place, &query).await.map_err(Unread::Asked)?;
        if values.is_empty() {
            return Err(Unread::Asked("no metrics returned from custom metrics API".into()));
        }
        let sample = |value: MetricValue| {
            let window = value.window_seconds.map_or(WINDOW, SignedDuration::from_secs);
            let at = value.timestamp.map_or(Timestamp::UNIX_EPOCH, |t| t.0);
            Some((value.described_object?.name, Sample { at, window, value: milli(&value.value) }))
        };
        Ok(Reading::Pods(values.into_iter().filter_map(sample).collect::<Samples>()))
    }

    async fn of_object(
        &self,
        namespace: &str,
        object: &CrossVersionObjectReference,
        metric: &str,
        own: &str,
        scales: &Scales,
    ) -> Result<i64, String> {
        let failed = |why: String| format!("unable to fetch metrics from custom metrics API: {why}");
        let group = scale::group(object.api_version.as_deref().unwrap_or_default())?;
        // An autoscaler does not look out of its namespace.
        let place = if (group, object.kind.as_str()) == ("", "Namespace") {
            format!("namespaces/{namespace}/metrics/{metric}")
        } else {
            let dot = if group.is_empty() { "" } else { "." };
            let kind = &object.kind;
            let unmapped = |why| failed(format!("unable to map kind {kind}{dot}{group} to resource: {why}"));
            let resource = scales.resource(group, kind).await.map_err(unmapped)?;
            format!("namespaces/{namespace}/{}{dot}{group}/{}/{metric}", resource.plural, object.name)
        };
        let values = self.adapted(&place, &[("metricLabelSelector", own)]).await?;
        match values.as_slice() {
            [only] => Ok(milli(&only.value)),
            several => {
                let number = several.len();
                let why =
                    format!("the custom metrics API server returned {number} results when we asked for exactly one");
                Err(failed(why))
            }
        }
    }

    async fn external(&self, namespace: &str, metric: &str, own: &str) -> Result<Vec<i64>, String> {
        let path = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}");
        let asked = format!("get {metric}.external.metrics.k8s.io");
        let values: Vec<MetricValue> = self
            .list(&path, &[("labelSelector", own)], &asked)
            .await
            .map_err(|why| format!("unable to fetch metrics from external metrics API: {why}"))?;
        if values.is_empty() {
            return Err("no metrics returned from external metrics API".into());
        }
        Ok(values.iter().map(|value| milli(&value.value)).collect())
    }

    /// Of the API of an adapter for metrics of the cluster's objects.
    async fn adapted(&self, place: &str, query: &[(&str, &str)]) -> Result<Vec<MetricValue>, String> {
        let failed = |why| format!("unable to fetch metrics from custom metrics API: {why}");
        let version = self.version().await.map_err(failed)?;
        let path = format!("/apis/custom.metrics.k8s.io/{version}/{place}");
        self.list(&path, query, "get custom.metrics.k8s.io").await.map_err(failed)
    }

    /// The version of that API.
    async fn version(&self) -> Result<&'static str, String> {
        let mut known = self.custom.lock().await;
        if let Some((_, version)) = known.filter(|(at, _)| at.elapsed() < FRESH_VERSION) {
            return Ok(version);
        }
        let group: APIGroup = match self.get("/apis/custom.metrics.k8s.io").await {
            Ok(group) => group,
            Err(error) if client::is_not_found(&error) => {
                return Err("no custom metrics API (custom.metrics.k8s.io) registered".into());
            }
            Err(error) => return Err(client::message(&error)),
        };
        let has = |version: &&str| group.versions.iter().any(|v| v.version == *version);
        let version = ["v1beta2", "v1beta1"].into_iter().find(has);
        let version = version.ok_or("no known available metric versions found")?;
        *known = Some((Instant::now(), version));
        Ok(version)
    }

    async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        asked: &str,
    ) -> Result<Vec<T>, String> {
        let path = with_query(path, query);
        let list: kube::Result<List<T>> = self.get(&path).await;
        list.map(|list| list.items).map_err(|error| told(&error, asked))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> kube::Result<T> {
        self.client.request(Request::get(path).body(vec![]).map_err(kube::Error::HttpError)?).await
    }
}

fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let mut text = Serializer::new(String::new());
    for (name, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
        text.append_pair(name, value);
    }
    let text = text.finish();
    if text.is_empty() { path.to_owned() } else { format!("{path}?{text}") }
}

/// A refusal that says nothing of itself says what was asked, as Go's client has it.
pub(super) fn told(error: &kube::Error, asked: &str) -> String {
    let message = client::message(error);
    match message.as_str() {
        "the server could not find the requested resource" | "the server is currently unable to handle the request" => {
            format!("{message} ({asked})")
        }
        _ => message,
    }
}

/// The text of a metric's own selector: none selects nothing, which is not said either.
fn own_selector(selector: Option<&ApiSelector>) -> Result<String, Unread> {
    let value = serde_json::to_value(selector).ok();
    let selector = LabelSelector::from_value(value.as_ref()).map_err(Unread::Selector)?;
    Ok(selector.to_string())
}

/// What a pod, or one container of it, uses of a resource, in thousandths; `None` where that is not known of all of it.
fn usage(metrics: &PodMetrics, resource: &str, container: &str) -> Option<i64> {
    if !container.is_empty() {
        return metrics.containers.iter().find(|c| c.name == container)?.usage.get(resource).map(milli);
    }
    if metrics.containers.is_empty() {
        return None;
    }
    let mut amounts = metrics.containers.iter().map(|c| c.usage.get(resource).map(milli));
    amounts.try_fold(0i64, |sum, amount| Some(sum.saturating_add(amount?)))
}
