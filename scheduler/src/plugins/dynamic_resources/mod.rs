//! Claims for devices: a node must have what a pod's claims ask for, or be where the devices are that they have; they are
//! given to the pod before it is bound.
//!
//! Upstream: `plugins/dynamicresources`. Which devices a node can give is worked out for each node (`devices::Allocator`)
//! and kept for the one that is chosen.

mod asked;
mod conditions;
mod hints;
mod state;
mod write;

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use devices::{Allocator, Failure, entries::full_name, selector::Selectors};
use k8s_openapi::api::core::v1::NodeSelector;
use machinery::field::{self, Path};
use serde::Deserialize;
use serde_json::Value;

use super::{arguments, faultless};
use crate::{
    cache::{
        Snapshot,
        labels::{Interner, NodeTerm},
        node::{Node, NodeObject},
        pod::PodInfo,
    },
    devices::Devices,
    framework::{
        events::{Action, Event, Hint, HintContext},
        extension::{
            Binding, Cycle, Filter, Plugin, PreBind, PreEnqueue, PreFilter, Release, Released, Reserve, Scope, Score,
            normalize_to_max,
        },
        state::CycleState,
        status::{Code, Status},
    },
};
use state::{Cycled, Found, Kept, Wanted};
pub use write::give_up;

/// How long devices are looked for on one node.
const FILTER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long devices may take until they are ready.
const BINDING_TIMEOUT: Duration = Duration::from_secs(600);
/// Most alternatives that a request can have.
const ALTERNATIVES_MAX: usize = 8;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Arguments {
    filter_timeout: Option<String>,
    binding_timeout: Option<String>,
}

/// See the module.
pub struct DynamicResources {
    filter_timeout: Duration,
    binding_timeout: Duration,
    selectors: Selectors,
    /// For questions that are asked outside a cycle.
    devices: OnceLock<Arc<Devices>>,
}

impl DynamicResources {
    /// From DynamicResourcesArgs.
    pub fn new(args: &Value) -> Result<Self, String> {
        let args: Arguments = arguments(args)?;
        let mut faults = vec![];
        let mut length = |name: &str, text: Option<String>, default: Duration, least: Duration, why: &str| {
            let Some(text) = text else { return Ok(default) };
            let length = machinery::duration::length(&text)?;
            if length < least {
                faults.push(field::Error::invalid(&Path::new(name), text.as_str(), why.to_owned()));
            }
            Ok::<_, String>(length)
        };
        let filter_timeout =
            length("filterTimeout", args.filter_timeout, FILTER_TIMEOUT, Duration::ZERO, "must be zero or positive")?;
        let second = Duration::from_secs(1);
        let binding_timeout = length(
            "bindingTimeout",
            args.binding_timeout,
            BINDING_TIMEOUT,
            second,
            "must be greater than or equal to 1 second",
        )?;
        faultless(&faults)?;
        Ok(Self { filter_timeout, binding_timeout, selectors: Selectors::default(), devices: OnceLock::new() })
    }
}

/// A refusal that removing pods does not mend.
fn refused(why: impl Into<String>) -> Status {
    Status::new(Code::UnschedulableAndUnresolvable, why.into())
}

fn failed(why: impl Into<String>) -> Status {
    Status::new(Code::Error, why.into())
}

impl PreEnqueue for DynamicResources {
    fn pre_enqueue(&self, pod: &PodInfo) -> Status {
        let Some(devices) = self.devices.get() else { return Status::success() };
        asked::claims(devices, pod).map_or_else(refused, |_| Status::success())
    }
}

impl PreFilter for DynamicResources {
    fn pre_filter(&self, cycle: &mut Cycle<'_>) -> (Status, Option<BTreeSet<Arc<str>>>) {
        if cycle.pod.claims.is_none() {
            return (Status::skip(), None);
        }
        cycle.state.put(Arc::new(Cycled::default()));
        let devices = &cycle.snapshot.devices;
        let wanted = match asked::wanted(devices, cycle.pod) {
            Ok(wanted) if wanted.is_empty() => return (Status::skip(), None),
            Ok(wanted) => wanted,
            Err(status) => return (status, None),
        };
        let allocates = wanted.iter().any(|wanted| wanted.allocation().is_none());
        let view = allocates.then(|| devices.view());
        cycle.state.put(Arc::new(Cycled { wanted, view, ..Cycled::default() }));
        (Status::success(), None)
    }
}

/// A node, as devices ask about it.
struct Asking<'a>(&'a NodeObject);

impl devices::Node for Asking<'_> {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn matches(&self, selector: &NodeSelector) -> Result<bool, String> {
        let mut interner = Interner::default();
        let mut terms = selector.node_selector_terms.iter().map(|term| NodeTerm::new(term, &mut interner));
        Ok(terms.any(|term| term.matches(&self.0.labels, &self.0.name)))
    }
}

impl DynamicResources {
    /// Whether an allocated claim can be used on the node, now or soon.
    fn is_available(&self, wanted: &Wanted, node: &NodeObject) -> bool {
        let here = wanted.nodes.as_ref().is_none_or(|terms| terms.iter().any(|t| t.matches(&node.labels, &node.name)));
        here && match conditions::readiness(&wanted.claim) {
            Ok(true) => true,
            Ok(false) => !conditions::is_late(&wanted.claim, self.binding_timeout),
            Err(_) => false,
        }
    }

    fn find(&self, cycle: &Cycle<'_>, state: &Cycled, node: &Node) -> Result<Option<Found>, Status> {
        let extended = asked::extended(&cycle.snapshot.devices, cycle.pod, state, node.object())?;
        let Some(view) = &state.view else { return Ok(None) };
        let unallocated = state.wanted.iter().filter(|wanted| wanted.allocation().is_none());
        let claims: Vec<_> = unallocated
            .filter_map(|wanted| match (wanted.is_extended, &extended) {
                (false, _) => Some(wanted.claim.clone()),
                (true, Some((claim, _))) => Some(claim.clone()),
                // The node has these resources without a class of devices.
                (true, None) => None,
            })
            .collect();
        let begun = Instant::now();
        let expired = || {
            let late = !self.filter_timeout.is_zero() && begun.elapsed() > self.filter_timeout;
            late.then(|| "context deadline exceeded".to_owned())
        };
        let allocator = Allocator {
            inventory: &view.inventory,
            allocated: &view.allocated,
            classes: &|name| view.classes.get(name).cloned(),
            selectors: &self.selectors,
            share_id: &|| uuid::Uuid::new_v4().to_string(),
            expired: &expired,
        };
        let name = &node.object().name;
        match allocator.allocate(&Asking(node.object()), &claims) {
            Ok(Some(allocations)) => {
                let (claim, mappings) = extended.map_or((None, vec![]), |(claim, mappings)| (Some(claim), mappings));
                Ok(Some(Found { allocations, extended: claim, mappings }))
            }
            Ok(None) => Err(refused("cannot allocate all claims")),
            Err(Failure::OnNode(why)) => Err(refused(why)),
            Err(Failure::Aborted(_)) => Err(failed(format!("node {name}: timed out trying to allocate devices"))),
            Err(Failure::Fatal(why)) => Err(failed(why)),
        }
    }
}

impl Filter for DynamicResources {
    fn scope(&self) -> Scope {
        Scope::Pods
    }

    fn filter(&self, cycle: &Cycle<'_>, node: &Node) -> Status {
        let Some(state) = cycle.state.get::<Arc<Cycled>>() else { return Status::success() };
        let object = node.object();
        let unavailable =
            |(_, wanted): &(usize, &Wanted)| wanted.allocation().is_some() && !self.is_available(wanted, object);
        let indexes: Vec<usize> = state.wanted.iter().enumerate().filter(unavailable).map(|(index, _)| index).collect();
        let found = match self.find(cycle, state, node) {
            Ok(found) => found,
            Err(status) => return status,
        };
        if !indexes.is_empty() {
            state.unavailable.lock().extend(indexes);
            return refused("resourceclaim not available on the node");
        }
        if let Some(found) = found {
            state.found.lock().insert(object.name.clone(), Arc::new(found));
        }
        Status::success()
    }
}

impl Release for DynamicResources {
    fn release(&self, cycle: &Cycle<'_>) -> Released {
        let nothing = |why| Released { message: why, claim: None };
        let state = cycle.state.get::<Arc<Cycled>>().filter(|state| !state.wanted.is_empty());
        let Some(state) = state else { return nothing("no new claims to deallocate") };
        let unavailable = state.unavailable.lock();
        let mine = |wanted: &&Wanted| {
            let others = devices::entries::consumers(&wanted.claim);
            !wanted.is_extended && others.iter().all(|consumer| consumer.uid == *cycle.pod.uid)
        };
        // Which one does not matter: there is no better and no worse.
        let idle = unavailable.iter().map(|index| &state.wanted[*index]).find(mine);
        if let Some(idle) = idle {
            let claim = Some((idle.claim.clone(), false));
            return Released { message: "deallocation of ResourceClaim completed", claim };
        }
        match state.wanted.iter().find(|wanted| wanted.is_extended && wanted.is_written()) {
            Some(stale) => {
                let claim = Some((stale.claim.clone(), true));
                Released { message: "deletion of ResourceClaim completed", claim }
            }
            None => nothing("still not schedulable"),
        }
    }
}

impl Score for DynamicResources {
    fn scope(&self) -> Scope {
        Scope::Pods
    }

    fn pre_score(&self, cycle: &mut Cycle<'_>, _nodes: &[u32]) -> Status {
        let state = cycle.state.get::<Arc<Cycled>>();
        let has_list = |wanted: &Wanted| wanted.requests().any(|request| request.first_available.is_some());
        if state.is_some_and(|state| state.wanted.iter().any(has_list)) { Status::success() } else { Status::skip() }
    }

    fn score(&self, cycle: &Cycle<'_>, node: &Node) -> i64 {
        let Some(state) = cycle.state.get::<Arc<Cycled>>() else { return 0 };
        let Some(found) = state.found.lock().get(&node.object().name).cloned() else { return 0 };
        let mut new = found.allocations.iter();
        let mut score = 0;
        for wanted in &state.wanted {
            let Some(allocation) = wanted.allocation().or_else(|| new.next()) else { continue };
            let results = allocation.devices.iter().flat_map(|devices| devices.results.iter().flatten());
            let given: BTreeSet<&str> = results.map(|result| result.request.as_str()).collect();
            for request in wanted.requests() {
                for (place, alternative) in request.first_available.iter().flatten().enumerate() {
                    if given.contains(format!("{}/{}", request.name, alternative.name).as_str()) {
                        score += ALTERNATIVES_MAX.saturating_sub(place) as i64;
                    }
                }
            }
        }
        score
    }

    fn normalize(&self, _cycle: &Cycle<'_>, _nodes: &[u32], scores: &mut [i64]) {
        normalize_to_max(false, scores);
    }
}

#[async_trait::async_trait]
impl Reserve for DynamicResources {
    fn reserve(&self, cycle: &mut Cycle<'_>, node: &Node) -> Status {
        let Some(state) = cycle.state.get::<Arc<Cycled>>().cloned() else { return Status::success() };
        let name = &node.object().name;
        let found = state.found.lock().get(name).cloned();
        let kept = Arc::new(Kept::new(cycle.snapshot.devices.clone(), found.as_deref()));
        cycle.kept.put(kept.clone());
        let mut allocations = found.iter().flat_map(|found| &found.allocations);
        for wanted in &state.wanted {
            if wanted.allocation().is_some() {
                kept.add(wanted.claim.clone(), None, wanted.is_extended);
                continue;
            }
            let of_node = found.as_ref().and_then(|found| found.extended.clone());
            let claim = match (wanted.is_extended, of_node) {
                (true, None) => continue,
                (true, Some(claim)) => claim,
                (false, _) => wanted.claim.clone(),
            };
            let Some(allocation) = allocations.next() else { return failed("claim allocation not found for node") };
            let uid = claim.metadata.uid.clone().unwrap_or_default();
            cycle.snapshot.devices.take_off(&uid, allocation.clone());
            kept.add(claim, Some(allocation.clone()), wanted.is_extended);
            tracing::debug!(claim = full_name(&wanted.claim.metadata), node = &**name, "devices set aside");
        }
        Status::success()
    }

    fn unreserve(&self, kept: &CycleState, _pod: &PodInfo, _node_name: &str) {
        if let Some(kept) = kept.get::<Arc<Kept>>() {
            kept.land_unwritten();
        }
    }

    async fn undo(&self, binding: &Binding) {
        if let Some(kept) = binding.kept.get::<Arc<Kept>>() {
            write::undo(kept, binding).await;
        }
    }
}

#[async_trait::async_trait]
impl PreBind for DynamicResources {
    fn needed(&self, kept: &CycleState) -> bool {
        kept.get::<Arc<Kept>>().is_some_and(|kept| !kept.slots().is_empty())
    }

    async fn pre_bind(&self, binding: &Binding) -> Status {
        let Some(kept) = binding.kept.get::<Arc<Kept>>() else { return Status::success() };
        if let Err(why) = write::bind(kept, binding).await {
            return failed(why);
        }
        conditions::wait(kept, binding, self.binding_timeout).await.map_or_else(failed, |()| Status::success())
    }
}

impl Plugin for DynamicResources {
    fn name(&self) -> &'static str {
        "DynamicResources"
    }

    fn attach(&self, snapshot: &Snapshot) {
        // Once: all profiles have one picture of the cluster.
        let _ = self.devices.set(snapshot.devices.clone());
    }

    fn events(&self) -> Action {
        hints::EVENTS
    }

    fn hint(&self, pod: &PodInfo, event: &Event, context: &HintContext<'_>) -> Hint {
        hints::hint(&context.snapshot.devices, pod, event)
    }

    fn pre_enqueue(&self) -> Option<&dyn PreEnqueue> {
        Some(self)
    }

    fn pre_filter(&self) -> Option<&dyn PreFilter> {
        Some(self)
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }

    fn release(&self) -> Option<&dyn Release> {
        Some(self)
    }

    fn score(&self) -> Option<&dyn Score> {
        Some(self)
    }

    fn reserve(&self) -> Option<&dyn Reserve> {
        Some(self)
    }

    fn pre_bind(&self) -> Option<&dyn PreBind> {
        Some(self)
    }
}
