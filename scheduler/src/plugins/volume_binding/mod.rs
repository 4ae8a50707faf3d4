//! Pods whose claims wait for them get a node where all of their volumes are or can be made; before a pod is bound, its
//! claims are.
//!
//! What is found for a claim is decided when the node is: other pods see it at once ("assumed"), although it is written
//! only outside the cycle ([`bind`]), where the pod then waits until the controller has bound its claims.

mod bind;
mod find;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use machinery::field::{self, Path};
use serde::Deserialize;
use serde_json::Value;

use self::{bind::Reserved, find::Claims};
use super::{arguments, faultless};
use crate::{
    cache::{node::Node, pod::PodInfo, volumes::MIGRATED_PLUGINS},
    framework::{
        events::{Action, Change, Event, Hint, HintContext},
        extension::{Binding, Cycle, Filter, Plugin, PreBind, PreFilter, Reserve, Scope},
        state::CycleState,
        status::{Code, Status},
    },
};

/// See the module.
pub struct VolumeBinding {
    bind_timeout: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Arguments {
    bind_timeout_seconds: i64,
    shape: Option<Value>,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { bind_timeout_seconds: 600, shape: None }
    }
}

impl VolumeBinding {
    /// From VolumeBindingArgs.
    pub fn new(args: &Value) -> Result<Self, String> {
        let args: Arguments = arguments(args)?;
        let mut faults = Vec::new();
        let Ok(seconds) = u64::try_from(args.bind_timeout_seconds) else {
            let path = Path::new("bindTimeoutSeconds");
            let why = "invalid BindTimeoutSeconds, should not be a negative value";
            faults.push(field::Error::invalid(&path, args.bind_timeout_seconds, why));
            return faultless(&faults).map(|()| Self { bind_timeout: Duration::ZERO });
        };
        if let Some(shape) = args.shape {
            let why = "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring";
            faults.push(field::Error::invalid(&Path::new("shape"), shape, why));
        }
        faultless(&faults).map(|()| Self { bind_timeout: Duration::from_secs(seconds) })
    }
}

/// Whether a claim of an ephemeral volume was made for the pod; what is wrong if not.
pub(super) fn made_for(pod: &PodInfo, claim: &PersistentVolumeClaim) -> Result<(), String> {
    let owner = claim.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    if owner.is_some_and(|owner| *owner.uid == *pod.uid) {
        return Ok(());
    }
    let [namespace, name] =
        [&claim.metadata.namespace, &claim.metadata.name].map(|part| part.as_deref().unwrap_or_default());
    Err(format!("PVC {namespace}/{name} was not created for pod {} (pod is not owner)", pod.key()))
}

impl PreFilter for VolumeBinding {
    fn pre_filter(&self, cycle: &mut Cycle<'_>) -> (Status, Option<BTreeSet<Arc<str>>>) {
        match Claims::of(cycle.pod, &cycle.snapshot.volumes.read()) {
            Ok(None) => return (Status::skip(), None),
            Ok(Some(claims)) => cycle.state.put(Arc::new(claims)),
            Err(status) => return (status, None),
        }
        (Status::success(), None)
    }
}

impl Filter for VolumeBinding {
    fn scope(&self) -> Scope {
        Scope::Pods
    }

    fn filter(&self, cycle: &Cycle<'_>, node: &Node) -> Status {
        let Some(claims) = cycle.state.get::<Arc<Claims>>() else { return Status::success() };
        match claims.on(node.object()) {
            Err(message) => Status::new(Code::Error, message),
            Ok(Ok(_)) => Status::success(),
            Ok(Err(reasons)) => Status { code: Code::UnschedulableAndUnresolvable, reasons },
        }
    }
}

impl Reserve for VolumeBinding {
    fn reserve(&self, cycle: &mut Cycle<'_>, node: &Node) -> Status {
        let Some(claims) = cycle.state.get::<Arc<Claims>>() else { return Status::success() };
        let found = match claims.on(node.object()) {
            Ok(Ok(found)) => found,
            Ok(Err(reasons)) => return Status { code: Code::UnschedulableAndUnresolvable, reasons },
            Err(message) => return Status::new(Code::Error, message),
        };
        let Some(object) = node.object.clone().filter(|_| !found.is_empty()) else { return Status::success() };
        match Reserved::new(cycle.snapshot.volumes.clone(), object, found) {
            Ok(reserved) => {
                cycle.kept.put(Arc::new(reserved));
                Status::success()
            }
            Err(message) => Status::new(Code::Error, message),
        }
    }

    fn unreserve(&self, kept: &CycleState, _: &PodInfo, _: &str) {
        if let Some(reserved) = kept.get::<Arc<Reserved>>() {
            reserved.take_back();
        }
    }
}

#[async_trait::async_trait]
impl PreBind for VolumeBinding {
    fn needed(&self, kept: &CycleState) -> bool {
        kept.get::<Arc<Reserved>>().is_some()
    }

    async fn pre_bind(&self, binding: &Binding) -> Status {
        let Some(reserved) = binding.kept.get::<Arc<Reserved>>() else { return Status::success() };
        let written = match reserved.write(&binding.client).await {
            Ok(()) => reserved.bound(self.bind_timeout).await,
            Err(message) => Err(message),
        };
        written.map_or_else(|message| Status::new(Code::Error, message), |()| Status::success())
    }
}

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn events(&self) -> Action {
        Action::CLASS_ADD
            .or(Action::CLASS_UPDATE)
            .or(Action::CLAIM_ADD)
            .or(Action::CLAIM_UPDATE)
            .or(Action::VOLUME_ADD)
            .or(Action::VOLUME_UPDATE)
            .or(Action::NODE_ADD)
            .or(Action::NODE_UPDATE_LABEL)
            .or(Action::CSI_NODE_ADD)
            .or(Action::CSI_NODE_UPDATE)
            .or(Action::CSI_DRIVER_UPDATE)
            .or(Action::CAPACITY_ADD)
            .or(Action::CAPACITY_UPDATE)
    }

    fn hint(&self, pod: &PodInfo, event: &Event, _: &HintContext<'_>) -> Hint {
        match &event.change {
            Change::Claim { new: Some(claim), .. } => {
                let (namespace, name) = (claim.metadata.namespace.as_deref(), claim.metadata.name.as_deref());
                let used = pod.volumes.iter().flat_map(|own| &own.claims).any(|own| Some(&*own.name) == name);
                Hint::from(namespace == Some(&*pod.namespace) && used)
            }
            Change::Class { old: Some(old), new: Some(new) } => {
                Hint::from(old.allowed_topologies != new.allowed_topologies)
            }
            Change::CsiNode { old: Some(old), new: Some(new) } => {
                let [before, after] =
                    [old, new].map(|node| volumes::annotations::get(&node.metadata, MIGRATED_PLUGINS));
                Hint::from(before != after)
            }
            Change::CsiDriver { old: Some(old), new: Some(new) } => {
                let used = pod.volumes.iter().flat_map(|own| &own.drivers);
                let used = used.into_iter().any(|driver| Some(&**driver) == new.metadata.name.as_deref());
                let [before, after] = [old, new].map(|driver| driver.spec.storage_capacity == Some(true));
                Hint::from(used && before && !after)
            }
            Change::Capacity { old: Some(old), new: Some(new) } => {
                Hint::from(new.limit.is_some_and(|new| old.limit.is_none_or(|old| new > old)))
            }
            _ => Hint::Queue,
        }
    }

    fn pre_filter(&self) -> Option<&dyn PreFilter> {
        Some(self)
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }

    fn reserve(&self) -> Option<&dyn Reserve> {
        Some(self)
    }

    fn pre_bind(&self) -> Option<&dyn PreBind> {
        Some(self)
    }
}
