//! A profile: its plugins, sorted by the extension points they implement, once.

pub mod events;
pub mod extension;
pub mod limited;
pub mod state;
pub mod status;
pub mod under_way;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use component::supervisor::guarded;

use self::{
    events::{Event, Hint, HintContext},
    extension::{Cycle, Idle, Permission, Plugin, Released, Scope},
    state::CycleState,
    status::{Code, Status},
    under_way::{Stopped, WaitingPods},
};
use crate::{
    cache::pod::PodInfo,
    extender::{self, Extender},
    fit_error::FitError,
    metrics::{Metrics, OfProfile, Point},
};

/// A set of plugins of one profile, by their index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PluginSet(pub u64);

impl PluginSet {
    /// Adds one.
    pub fn insert(&mut self, plugin: usize) {
        self.0 |= 1 << plugin;
    }

    /// Whether it is in.
    pub fn contains(self, plugin: usize) -> bool {
        self.0 & (1 << plugin) != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those in it.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..64).filter(move |plugin| self.contains(*plugin))
    }
}

/// See the module.
pub struct Framework {
    /// spec.schedulerName of the pods it places.
    pub profile: Arc<str>,
    /// Of all nodes, how many to find before scoring; 0: by the size of the cluster.
    pub percentage_of_nodes_to_score: u32,
    /// The plugins in order.
    pub plugins: Vec<Arc<dyn Plugin>>,
    /// Filters that come first and look only at shape and node object: their answer is kept.
    pub object_filters: Vec<usize>,
    /// The others in order.
    pub pod_filters: Vec<usize>,
    /// PreFilters in order.
    pub pre_filters: Vec<usize>,
    /// Scores whose raw value is kept while the node's object is the same, with weights.
    pub object_scores: Vec<(usize, i64)>,
    /// Scores whose raw value is kept while the node's pods are the same, too, with weights.
    pub node_scores: Vec<(usize, i64)>,
    /// The others, with weights.
    pub pod_scores: Vec<(usize, i64)>,
    /// The index of the plugin that preempts, if one does.
    pub post_filter: Option<usize>,
    /// Pods that wait for the permission of a plugin.
    pub waiting: Arc<WaitingPods>,
    /// Programs that have a say besides the plugins, in the order in which they are asked.
    pub extenders: Arc<[Extender]>,
    /// What is counted of it.
    pub metrics: OfProfile,
}

/// Why a pod that had found a node did not get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// `Unschedulable` or `SchedulerError`.
    pub reason: &'static str,
    /// For the event and the condition.
    pub message: String,
    /// Those that turned it away, for whose events it then waits; with none it backs off.
    pub plugins: PluginSet,
}

impl Failure {
    /// Something went wrong.
    pub fn error(message: impl Into<String>) -> Self {
        Self { reason: "SchedulerError", message: message.into(), plugins: PluginSet::default() }
    }

    /// As plugins would say it.
    pub fn code(&self) -> Code {
        if self.reason == "Unschedulable" { Code::Unschedulable } else { Code::Error }
    }

    /// A plugin turned the pod away from the node it had found.
    pub fn rejected(plugin: usize, status: Status) -> Self {
        let mut error = FitError { all_nodes: 1, ..Default::default() };
        error.refuse_by(plugin, 0, status);
        Self { reason: "Unschedulable", message: error.to_string(), plugins: error.plugins }
    }
}

/// At most this many raw scores of a scope are kept a node and shape.
pub const KEPT_SCORES: usize = 2;

impl Framework {
    /// Sorts plugins (with the weight of their scores) by extension point.
    pub fn new(profile: &str, percentage_of_nodes_to_score: u32, plugins: Vec<(Arc<dyn Plugin>, i64)>) -> Self {
        assert!(plugins.len() <= 64, "a set of plugins is a word of 64 bits");
        let mut framework = Self {
            profile: Arc::from(profile),
            percentage_of_nodes_to_score,
            plugins: Vec::new(),
            object_filters: Vec::new(),
            pod_filters: Vec::new(),
            pre_filters: Vec::new(),
            object_scores: Vec::new(),
            node_scores: Vec::new(),
            pod_scores: Vec::new(),
            post_filter: None,
            waiting: Arc::default(),
            extenders: Arc::new([]),
            metrics: OfProfile::new(Arc::default(), Arc::default(), []),
        };
        for (index, (plugin, weight)) in plugins.into_iter().enumerate() {
            if plugin.pre_filter().is_some() {
                framework.pre_filters.push(index);
            }
            if let Some(filter) = plugin.filter() {
                // The first refusal is the one reported, so only a leading run of filters can be answered from memory.
                if filter.scope() == Scope::NodeObject && framework.pod_filters.is_empty() {
                    framework.object_filters.push(index);
                } else {
                    framework.pod_filters.push(index);
                }
            }
            if let Some(score) = plugin.score() {
                let scores = match score.scope() {
                    Scope::NodeObject if framework.object_scores.len() < KEPT_SCORES => &mut framework.object_scores,
                    Scope::Node if framework.node_scores.len() < KEPT_SCORES => &mut framework.node_scores,
                    _ => &mut framework.pod_scores,
                };
                scores.push((index, weight));
            }
            if plugin.post_filter().is_some() {
                framework.post_filter = Some(index);
            }
            framework.plugins.push(plugin);
        }
        framework
    }

    /// Gives extenders a say.
    pub fn extend(&mut self, extenders: Arc<[Extender]>) {
        if !extenders.is_empty() {
            self.plugins.push(Arc::new(extender::Outside));
        }
        self.extenders = extenders;
    }

    /// Counts there from now on.
    pub fn measure(&mut self, metrics: Arc<Metrics>) {
        let plugins = self.plugins.iter().map(|plugin| plugin.name());
        self.metrics = OfProfile::new(metrics, self.profile.clone(), plugins);
    }

    /// Order in the active queue: larger first.
    pub fn rank(&self, pod: &PodInfo) -> i64 {
        self.plugins.iter().find_map(|plugin| plugin.queue_sort()).map_or(0, |sort| sort.rank(pod))
    }

    /// The first plugin that gates the pod.
    pub fn gate(&self, pod: &PodInfo) -> Option<(usize, Status)> {
        self.plugins.iter().enumerate().find_map(|(index, plugin)| {
            let status = plugin.pre_enqueue()?.pre_enqueue(pod);
            (!status.is_success()).then_some((index, status))
        })
    }

    /// The plugins that any pod could be helped past by such an event.
    pub fn interested(&self, event: &Event) -> PluginSet {
        let mut set = PluginSet::default();
        for (index, plugin) in self.plugins.iter().enumerate() {
            if plugin.events().overlaps(event.action) {
                set.insert(index);
            }
        }
        set
    }

    /// Whether the event helps a pod that these plugins turned away.
    pub fn helps(&self, pod: &PodInfo, rejectors: PluginSet, event: &Event, context: &HintContext<'_>) -> bool {
        // A pod that failed for no plugin's reason (an API error, say) is tried again at anything.
        rejectors.is_empty()
            || matches!(event.change, events::Change::Flush)
            || rejectors.iter().any(|index| {
                let plugin = &self.plugins[index];
                plugin.events().overlaps(event.action) && plugin.hint(pod, event, context) == Hint::Queue
            })
    }

    /// Has all plugins set aside what the pod needs on the node, in order, until one will not or panics: then everything
    /// is undone.
    pub fn reserve(&self, cycle: &mut Cycle<'_>, place: u32) -> Result<(), Failure> {
        let node = cycle.snapshot.node(place);
        let begun = Instant::now();
        for (index, plugin) in self.plugins.iter().enumerate() {
            let Some(reserve) = plugin.reserve() else { continue };
            let failure = match guarded("reserve", || reserve.reserve(cycle, node)) {
                Ok(status) if status.is_success() => continue,
                Ok(status) => refused(index, "Reserve", plugin.name(), status),
                Err(_) => Failure::error(FAILED),
            };
            self.metrics.ran(Point::Reserve, failure.code(), begun.elapsed());
            self.unreserve(&cycle.kept, cycle.pod, &node.object().name);
            return Err(failure);
        }
        self.metrics.ran(Point::Reserve, Code::Success, begun.elapsed());
        Ok(())
    }

    /// Asks all plugins for their permission, in order; returns those that make the pod wait, and for how long.
    pub fn permit(&self, cycle: &Cycle<'_>, place: u32) -> Result<Vec<(&'static str, Duration)>, Failure> {
        let name = &cycle.snapshot.node(place).object().name;
        let begun = Instant::now();
        let mut pending = Vec::new();
        for (index, plugin) in self.plugins.iter().enumerate() {
            let Some(permit) = plugin.permit() else { continue };
            let asked = guarded("permit", || permit.permit(cycle.pod, name, &self.waiting));
            let failure = match asked {
                Ok(Permission::Wait(longest)) => {
                    pending.push((plugin.name(), longest));
                    continue;
                }
                Ok(Permission::Now(status)) if status.is_success() => continue,
                Ok(Permission::Now(status)) => refused(index, "Permit", plugin.name(), status),
                Err(_) => Failure::error(FAILED),
            };
            self.metrics.ran(Point::Permit, failure.code(), begun.elapsed());
            self.unreserve(&cycle.kept, cycle.pod, name);
            return Err(failure);
        }
        self.metrics.ran(Point::Permit, Code::Success, begun.elapsed());
        Ok(pending)
    }

    /// Has all plugins undo what they set aside for a pod on a node, the last first. One that panics keeps no other from it.
    pub fn unreserve(&self, kept: &CycleState, pod: &PodInfo, node_name: &str) {
        for plugin in self.plugins.iter().rev() {
            if let Some(reserve) = plugin.reserve() {
                let _ = guarded("unreserve", || reserve.unreserve(kept, pod, node_name));
            }
        }
    }

    /// What came of a pod that was stopped while it waited for a permission.
    pub fn not_permitted(&self, why: Stopped) -> Failure {
        match why {
            Stopped::Rejected(by, message) => {
                let plugin = self.plugins.iter().position(|plugin| plugin.name() == by).unwrap_or_default();
                Failure::rejected(plugin, Status::new(Code::Unschedulable, message))
            }
            Stopped::Cancelled(message) => Failure::error(format!("waiting on permit for pod: {message}")),
        }
    }

    /// What is said after no node admitted the pod, `preempted` of preemption included; and a claim that is given up, or
    /// (true) deleted.
    pub fn release(&self, cycle: &Cycle<'_>, error: &FitError, preempted: String) -> (String, Option<Idle>) {
        let releasing = self.plugins.iter().enumerate().find_map(|(index, plugin)| Some((index, plugin.release()?)));
        let Some((index, release)) = releasing else { return (preempted, None) };
        if !error.pre_filter_message.is_empty() && !error.plugins.contains(index) {
            // Upstream's plugin fails with these words when another turned the pod away before nodes were looked at.
            return ("not found".to_owned(), None);
        }
        let Released { message, claim } = release.release(cycle);
        let parts = [message, preempted.as_str()];
        (parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", "), claim)
    }

    /// The names of the plugins in a set, sorted.
    pub fn names(&self, set: PluginSet) -> Vec<&'static str> {
        let mut names: Vec<_> = set.iter().map(|index| self.plugins[index].name()).collect();
        names.sort_unstable();
        names
    }
}

/// What is said of a pod in whose cycle something panicked: why is in the log, it is not for the pod's readers.
pub const FAILED: &str = "the scheduler failed while it tried the pod; see its log";

fn refused(index: usize, point: &str, plugin: &str, status: Status) -> Failure {
    if status.is_rejected() {
        return Failure::rejected(index, status);
    }
    Failure::error(format!("running {point} plugin {plugin:?}: {}", status.message()))
}
