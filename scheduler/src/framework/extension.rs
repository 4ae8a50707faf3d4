//! The extension points, under upstream's names (`kube-scheduler/framework/interface.go`).
//!
//! A plugin is one struct; the accessor of each point it implements returns itself. Filters and scores say what they
//! depend on: those that look at nothing but the pod's shape and the node's object are asked once per shape and node
//! object, scores that look at the node's own pods besides once until one of these changes, and the answer is kept.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use k8s_openapi::api::resource::v1::ResourceClaim;

use super::{
    events::{Action, Event, Hint, HintContext},
    state::CycleState,
    status::Status,
    under_way::{UnderWay, WaitingPods},
};
use crate::{
    cache::{Snapshot, node::Node, pod::PodInfo},
    events::Recorder,
    metrics::Metrics,
};

/// The highest score of a node.
pub const MAX_NODE_SCORE: i64 = 100;

/// One attempt to place one pod.
pub struct Cycle<'a> {
    /// The pod.
    pub pod: &'a PodInfo,
    /// The cluster.
    pub snapshot: &'a Snapshot,
    /// What plugins worked out for this pod.
    pub state: CycleState,
    /// What Reserve set aside for it: it outlives the cycle, for Unreserve and PreBind.
    pub kept: CycleState,
    /// Whether its plugins are measured.
    pub measured: bool,
}

impl<'a> Cycle<'a> {
    /// One that begins.
    pub fn new(pod: &'a PodInfo, snapshot: &'a Snapshot) -> Self {
        Self { pod, snapshot, state: CycleState::default(), kept: CycleState::default(), measured: false }
    }
}

/// What an answer depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The pod's shape and the node's object: kept between cycles.
    NodeObject,
    /// Also the pods on that node; a score is kept until one comes or goes.
    Node,
    /// Also the pods on other nodes, or something else: asked every time.
    Pods,
}

/// Orders the active queue.
pub trait QueueSort: Send + Sync {
    /// Larger comes first; equal ones in order of their time in the queue.
    fn rank(&self, pod: &PodInfo) -> i64;
}

/// Holds a pod back before it enters the active queue.
pub trait PreEnqueue: Send + Sync {
    /// Not `Success`: the pod is gated.
    fn pre_enqueue(&self, pod: &PodInfo) -> Status;
}

/// Looks at the pod once before nodes are looked at.
pub trait PreFilter: Send + Sync {
    /// May turn the pod away, skip its filter, or narrow the nodes to some by name.
    fn pre_filter(&self, cycle: &mut Cycle<'_>) -> (Status, Option<BTreeSet<Arc<str>>>);
    /// A pod was added to (`true`) or removed from a node in a trial: bring the state up to date.
    fn trial(&self, _cycle: &mut Cycle<'_>, _pod: &PodInfo, _node: &Node, _added: bool) {}
}

/// Whether a pod may run on a node.
pub trait Filter: Send + Sync {
    /// What it depends on.
    fn scope(&self) -> Scope;
    /// The verdict.
    fn filter(&self, cycle: &Cycle<'_>, node: &Node) -> Status;
}

/// Tries to make room for a pod that no node admits. There is one: preemption (`preemption.rs`).
pub trait PostFilter: Send + Sync {}

/// Gives up what keeps a pod from every node, before others are evicted for it.
pub trait Release: Send + Sync {
    /// Asked when no node admits the pod.
    fn release(&self, cycle: &Cycle<'_>) -> Released;
}

/// What comes of it.
pub struct Released {
    /// For the message.
    pub message: &'static str,
    /// What is given up.
    pub claim: Option<Idle>,
}

/// A claim whose devices are given up, or (true) that is deleted.
pub type Idle = (Arc<ResourceClaim>, bool);

/// How well a pod would run on a node.
pub trait Score: Send + Sync {
    /// What the raw score depends on.
    fn scope(&self) -> Scope;
    /// Looks at the admitted nodes once; `Skip` leaves the plugin out.
    fn pre_score(&self, _cycle: &mut Cycle<'_>, _nodes: &[u32]) -> Status {
        Status::success()
    }
    /// The raw score. One that is kept (see [`Scope`]) is worked out before `pre_score`, or without it.
    fn score(&self, cycle: &Cycle<'_>, node: &Node) -> i64;
    /// Brings all raw scores into 0..=100.
    fn normalize(&self, _cycle: &Cycle<'_>, _nodes: &[u32], _scores: &mut [i64]) {}
}

/// Sets something aside for a pod on the node chosen.
#[async_trait::async_trait]
pub trait Reserve: Send + Sync {
    /// Not `Success`: the pod fails, and all are undone. What undoing and PreBind need goes to `cycle.kept`.
    fn reserve(&self, cycle: &mut Cycle<'_>, node: &Node) -> Status;
    /// Undoes it, from any thread; called even where `reserve` was not, and then there is nothing in `kept`.
    fn unreserve(&self, kept: &CycleState, pod: &PodInfo, node_name: &str);
    /// After that: takes back what PreBind has written.
    async fn undo(&self, _binding: &Binding) {}
}

/// What a Permit plugin says.
pub enum Permission {
    /// Go on, or not.
    Now(Status),
    /// Not before the plugin allows it ([`UnderWay::allow`]); after so long the pod is turned away.
    Wait(Duration),
}

/// A last word before binding.
pub trait Permit: Send + Sync {
    /// `waiting` are the pods that wait for a permission, whom a plugin may allow or turn away.
    fn permit(&self, pod: &PodInfo, node_name: &str, waiting: &WaitingPods) -> Permission;
}

/// What a binding needs.
#[derive(Clone)]
pub struct Binding {
    /// The API.
    pub client: kube::Client,
    /// The pod.
    pub pod: Arc<PodInfo>,
    /// Its node.
    pub node_name: Arc<str>,
    /// What Reserve set aside.
    pub kept: Arc<CycleState>,
    /// How far it is.
    pub under_way: Arc<UnderWay>,
    /// For events.
    pub recorder: Recorder,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// Work before binding (volumes, say), outside the cycle. It ends early when the pod or its node is gone.
#[async_trait::async_trait]
pub trait PreBind: Send + Sync {
    /// Whether there is anything to do for this pod. If so, it is told beforehand which node it is about to get.
    fn needed(&self, _kept: &CycleState) -> bool {
        true
    }
    /// Not `Success`: the pod is tried again, after its backoff.
    async fn pre_bind(&self, binding: &Binding) -> Status;
}

/// Writes the decision.
#[async_trait::async_trait]
pub trait Bind: Send + Sync {
    /// An error puts the pod back.
    async fn bind(&self, binding: &Binding) -> Result<(), String>;
}

/// Told after binding.
pub trait PostBind: Send + Sync {
    /// The pod is bound.
    fn post_bind(&self, pod: &PodInfo, node_name: &str);
}

/// A plugin: a name, the events that may turn its refusals, and its extension points.
pub trait Plugin: Send + Sync {
    /// As in configuration files and metrics.
    fn name(&self) -> &'static str;
    /// Called once, before anything else: what of the cluster it may look at outside a cycle.
    fn attach(&self, _snapshot: &Snapshot) {}
    /// Changes that may help a pod this plugin turned away.
    fn events(&self) -> Action {
        Action(0)
    }
    /// Whether one of them helps this pod.
    fn hint(&self, _pod: &PodInfo, _event: &Event, _context: &HintContext<'_>) -> Hint {
        Hint::Queue
    }
    /// QueueSort.
    fn queue_sort(&self) -> Option<&dyn QueueSort> {
        None
    }
    /// PreEnqueue.
    fn pre_enqueue(&self) -> Option<&dyn PreEnqueue> {
        None
    }
    /// PreFilter.
    fn pre_filter(&self) -> Option<&dyn PreFilter> {
        None
    }
    /// Filter.
    fn filter(&self) -> Option<&dyn Filter> {
        None
    }
    /// PostFilter.
    fn post_filter(&self) -> Option<&dyn PostFilter> {
        None
    }
    /// What comes before it.
    fn release(&self) -> Option<&dyn Release> {
        None
    }
    /// PreScore and Score.
    fn score(&self) -> Option<&dyn Score> {
        None
    }
    /// Reserve.
    fn reserve(&self) -> Option<&dyn Reserve> {
        None
    }
    /// Permit.
    fn permit(&self) -> Option<&dyn Permit> {
        None
    }
    /// PreBind.
    fn pre_bind(&self) -> Option<&dyn PreBind> {
        None
    }
    /// Bind.
    fn bind(&self) -> Option<&dyn Bind> {
        None
    }
    /// PostBind.
    fn post_bind(&self) -> Option<&dyn PostBind> {
        None
    }
}

/// Linear scaling of counts to 0..=100, reversed where fewer is better (`helper.DefaultNormalizeScore`).
pub fn normalize_to_max(reverse: bool, scores: &mut [i64]) {
    let highest = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        if highest == 0 {
            if reverse {
                *score = MAX_NODE_SCORE;
            }
            continue;
        }
        *score = MAX_NODE_SCORE * *score / highest;
        if reverse {
            *score = MAX_NODE_SCORE - *score;
        }
    }
}
