//! `KubeSchedulerConfiguration` (kubescheduler.config.k8s.io/v1), as far as it is supported, and what is made of it.
//!
//! Fields of upstream's that mean nothing here (parallelism, profiling) are read and ignored.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    cache::labels::Interner,
    core::Settings,
    extender::{self, Extender, ExtenderConfig, Http},
    framework::{
        Framework,
        extension::Plugin,
        limited::{At, Limited, Points},
        under_way::WaitingPods,
    },
    metrics::Metrics,
    plugins::{CATALOGUE, MISSING},
    why::Why,
};

/// See the module. The default is upstream's: one profile, `default-scheduler`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Always ignored; the loader has looked at it.
    pub api_version: Option<String>,
    /// Likewise.
    pub kind: Option<String>,
    /// Number of goroutines upstream.
    pub parallelism: Option<i32>,
    /// Leader election.
    pub leader_election: LeaderElection,
    /// How to reach the API server.
    pub client_connection: ClientConnection,
    /// Of all nodes, how many to find before scoring; 0: by the size of the cluster.
    pub percentage_of_nodes_to_score: Option<u32>,
    /// First backoff.
    pub pod_initial_backoff_seconds: Option<u64>,
    /// Longest backoff.
    pub pod_max_backoff_seconds: Option<u64>,
    /// Profiles.
    pub profiles: Vec<Profile>,
    /// Programs that have a say besides the plugins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extenders: Vec<ExtenderConfig>,
    /// Upstream's pprof.
    pub enable_profiling: Option<bool>,
    /// Upstream's pprof.
    pub enable_contention_profiling: Option<bool>,
    /// Upstream since 1.29.
    pub delay_cache_until_active: bool,
    /// The host's name in events; not of the file.
    #[serde(skip)]
    pub host: String,
    /// What is counted; not of the file.
    #[serde(skip)]
    pub metrics: Arc<Metrics>,
    /// Where decisions are explained; not of the file.
    #[serde(skip)]
    pub why: Arc<Why>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api_version: None,
            kind: None,
            parallelism: None,
            leader_election: LeaderElection::default(),
            client_connection: ClientConnection::default(),
            percentage_of_nodes_to_score: None,
            pod_initial_backoff_seconds: None,
            pod_max_backoff_seconds: None,
            profiles: Vec::new(),
            extenders: Vec::new(),
            enable_profiling: None,
            enable_contention_profiling: None,
            delay_cache_until_active: false,
            host: "localhost".to_owned(),
            metrics: Arc::default(),
            why: Arc::default(),
        }
    }
}

/// Leader election; see upstream's LeaderElectionConfiguration.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[allow(missing_docs, reason = "upstream's fields")]
pub struct LeaderElection {
    pub leader_elect: bool,
    pub lease_duration: String,
    pub renew_deadline: String,
    pub retry_period: String,
    pub resource_lock: String,
    pub resource_name: String,
    pub resource_namespace: String,
}

impl Default for LeaderElection {
    fn default() -> Self {
        Self {
            leader_elect: true,
            lease_duration: "15s".to_owned(),
            renew_deadline: "10s".to_owned(),
            retry_period: "2s".to_owned(),
            resource_lock: "leases".to_owned(),
            resource_name: "kube-scheduler".to_owned(),
            resource_namespace: "kube-system".to_owned(),
        }
    }
}

/// How to reach the API server. Encoding and rate are read and ignored.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[allow(missing_docs, reason = "upstream's fields")]
pub struct ClientConnection {
    pub kubeconfig: String,
    pub accept_content_types: String,
    pub content_type: String,
    pub qps: f64,
    pub burst: i64,
}

/// A profile.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Profile {
    /// spec.schedulerName of its pods.
    pub scheduler_name: Option<String>,
    /// Overrides the general one.
    pub percentage_of_nodes_to_score: Option<u32>,
    /// Changes to the default plugins.
    pub plugins: Plugins,
    /// Arguments of plugins.
    pub plugin_config: Vec<PluginConfig>,
}

/// Plugins by extension point.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[allow(missing_docs, reason = "upstream's fields")]
pub struct Plugins {
    pub multi_point: PluginChanges,
    pub pre_enqueue: PluginChanges,
    pub queue_sort: PluginChanges,
    pub pre_filter: PluginChanges,
    pub filter: PluginChanges,
    pub post_filter: PluginChanges,
    pub pre_score: PluginChanges,
    pub score: PluginChanges,
    pub reserve: PluginChanges,
    pub permit: PluginChanges,
    pub pre_bind: PluginChanges,
    pub bind: PluginChanges,
    pub post_bind: PluginChanges,
}

/// Plugins switched on and off at an extension point.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginChanges {
    /// On, in order.
    pub enabled: Vec<PluginName>,
    /// Off; `*`: all defaults.
    pub disabled: Vec<PluginName>,
}

/// A plugin and its weight.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginName {
    /// Its name.
    pub name: String,
    /// The weight of its score; 0: the default.
    pub weight: i64,
}

/// A plugin's arguments.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginConfig {
    /// The plugin.
    pub name: String,
    /// Its arguments.
    pub args: Value,
}

impl Config {
    /// What the core needs.
    pub fn settings(&self) -> Settings {
        let defaults = Settings::default();
        Settings {
            initial_backoff: self.pod_initial_backoff_seconds.map_or(defaults.initial_backoff, Duration::from_secs),
            max_backoff: self.pod_max_backoff_seconds.map_or(defaults.max_backoff, Duration::from_secs),
            assume_ttl: defaults.assume_ttl,
            metrics: self.metrics.clone(),
            why: self.why.clone(),
        }
    }

    /// The profiles' frameworks; an error says what in the configuration is wrong.
    pub fn frameworks(&self, interner: &mut Interner) -> Result<Vec<Framework>, String> {
        extender::validate(&self.extenders)?;
        let (initial, longest) = (self.settings().initial_backoff, self.settings().max_backoff);
        if initial.is_zero() {
            return Err("podInitialBackoffSeconds: Invalid value: 0: must be greater than 0".to_owned());
        }
        if longest < initial {
            return Err(format!(
                "podMaxBackoffSeconds: Invalid value: {}: must be greater than or equal to PodInitialBackoffSeconds",
                longest.as_secs()
            ));
        }
        let default = [Profile::default()];
        let profiles = if self.profiles.is_empty() { &default[..] } else { &self.profiles };
        let mut frameworks: Vec<Framework> = Vec::new();
        for (index, profile) in profiles.iter().enumerate() {
            let name = match &profile.scheduler_name {
                Some(name) if !name.is_empty() => name.as_str(),
                None if profiles.len() == 1 => "default-scheduler",
                _ => return Err(format!("profiles[{index}].schedulerName: Required value")),
            };
            if frameworks.iter().any(|known| &*known.profile == name) {
                return Err(format!("profiles[{index}].schedulerName: Duplicate value: {name:?}"));
            }
            let percentage = profile.percentage_of_nodes_to_score.or(self.percentage_of_nodes_to_score).unwrap_or(0);
            if percentage > 100 {
                return Err(format!(
                    "percentageOfNodesToScore: Invalid value: {percentage}: not in valid range [0-100]"
                ));
            }
            frameworks.push(profile.framework(name, percentage, &self.ignored_resources(), interner)?);
        }
        // A pod waits in one place, whatever its profile.
        let waiting = Arc::<WaitingPods>::default();
        frameworks.iter_mut().for_each(|framework| framework.waiting = waiting.clone());
        Ok(frameworks)
    }

    /// The extenders, those that may be out of order last. To be called within the runtime.
    ///
    /// # Errors
    /// A URL can't be used, or certificates and keys don't load.
    pub fn extenders(&self) -> anyhow::Result<Arc<[Extender]>> {
        let mut configs = self.extenders.clone();
        configs.sort_by_key(|config| config.ignorable);
        let made = configs.into_iter().map(|config| {
            let http =
                Http::new(&config).with_context(|| format!("couldn't build extender {:?}", config.url_prefix))?;
            Ok(Extender::new(config, Arc::new(http)))
        });
        made.collect()
    }

    /// Resources that extenders look after alone.
    fn ignored_resources(&self) -> Vec<String> {
        let managed = self.extenders.iter().flat_map(|extender| &extender.managed_resources);
        managed.filter(|resource| resource.ignored_by_scheduler).map(|resource| resource.name.clone()).collect()
    }
}

impl Profile {
    /// The default plugins in their order, without those switched off, then those switched on besides. At a single
    /// extension point the order stays that of all, whatever the order in which plugins are switched on there.
    fn framework(
        &self,
        name: &str,
        percentage: u32,
        ignored_resources: &[String],
        interner: &mut Interner,
    ) -> Result<Framework, String> {
        let off = |changes: &PluginChanges, plugin: &str| {
            changes.disabled.iter().any(|disabled| disabled.name == plugin || disabled.name == "*")
        };
        let on = |changes: &PluginChanges, plugin: &str| changes.enabled.iter().any(|enabled| enabled.name == plugin);
        let points = &self.plugins;
        let single = [
            (At::PreEnqueue, &points.pre_enqueue),
            (At::QueueSort, &points.queue_sort),
            (At::PreFilter, &points.pre_filter),
            (At::Filter, &points.filter),
            (At::PostFilter, &points.post_filter),
            (At::Score, &points.score),
            (At::Reserve, &points.reserve),
            (At::Permit, &points.permit),
            (At::PreBind, &points.pre_bind),
            (At::Bind, &points.bind),
            (At::PostBind, &points.post_bind),
        ];
        let mut chosen: Vec<(&str, i64, Points)> = Vec::new();
        let everywhere = |plugin: &str| {
            single
                .iter()
                .fold(Points::ALL, |all, (at, changes)| all.set(*at, on(changes, plugin) || !off(changes, plugin)))
        };
        for (plugin, weight, _) in CATALOGUE {
            if !off(&points.multi_point, plugin) && !on(&points.multi_point, plugin) {
                chosen.push((plugin, *weight, everywhere(plugin)));
            }
        }
        for enabled in &points.multi_point.enabled {
            chosen.push((&enabled.name, enabled.weight, everywhere(&enabled.name)));
        }
        // What is not switched on everywhere is so at the points that name it.
        let multiple = chosen.len();
        for (at, enabled) in single.iter().flat_map(|(at, changes)| changes.enabled.iter().map(|one| (*at, one))) {
            match chosen.iter().position(|(plugin, ..)| *plugin == enabled.name) {
                Some(known) if known < multiple => {}
                Some(known) => chosen[known].2 = chosen[known].2.set(at, true),
                None => chosen.push((&enabled.name, enabled.weight, Points::default().set(at, true))),
            }
        }
        let mut plugins = Vec::new();
        for (plugin, weight, at) in chosen {
            if MISSING.contains(&plugin) {
                continue;
            }
            let Some((known, default_weight, make)) = CATALOGUE.iter().find(|(known, ..)| *known == plugin) else {
                return Err(format!(
                    "initializing profiles: creating profile for scheduler name {name}: {plugin:?} does not exist"
                ));
            };
            let args = self.plugin_config.iter().find(|config| config.name == *known);
            let mut args = args.map_or(Value::Null, |config| config.args.clone());
            if *known == "NodeResourcesFit" && !ignored_resources.is_empty() {
                let given = args["ignoredResources"].as_array().into_iter().flatten().filter_map(Value::as_str);
                let all: BTreeSet<String> = given.map(str::to_owned).chain(ignored_resources.iter().cloned()).collect();
                args["ignoredResources"] = all.into_iter().collect();
            }
            let made = make(&args, interner).map_err(|error| format!("initializing plugin {known:?}: {error}"))?;
            let set = points.score.enabled.iter().find(|enabled| enabled.name == *known).map_or(weight, |e| e.weight);
            let weight = if set == 0 { (*default_weight).max(1) } else { set };
            let made: Arc<dyn Plugin> = if at == Points::ALL { made } else { Arc::new(Limited::new(made, at)) };
            plugins.push((made, weight));
        }
        if !plugins.iter().any(|(plugin, _)| plugin.bind().is_some()) {
            return Err(format!("at least one bind plugin is needed for profile with scheduler name {name:?}"));
        }
        Ok(Framework::new(name, percentage, plugins))
    }
}
