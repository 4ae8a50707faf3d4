//! The decision about one volume: to which nodes it is attached, from which it is detached, and what pods are told.
//!
//! Upstream: `pkg/controller/volume/attachdetach/reconciler`. A volume is detached only when its node has it mounted no
//! longer; a node that is gone or silent has six minutes. Before that the node's status must say that it is not to be
//! mounted any more.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};

use crate::util::key;

/// How long a node that is not healthy may keep a volume mounted that nobody wants there.
pub(super) const MAX_WAIT_FOR_UNMOUNT: Duration = Duration::from_secs(6 * 60);
/// How long a driver may take to attach before it is said that it takes long.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(2 * 60);

/// The volume.
pub(super) struct Volume<'a> {
    /// Of the PersistentVolume.
    pub(super) name: &'a str,
    pub(super) driver: &'a str,
    pub(super) handle: &'a str,
    /// It can be attached to one node at a time.
    pub(super) exclusive: bool,
}

/// A node, as far as the volume goes.
#[derive(Default)]
pub(super) struct Place {
    /// Nothing: it is gone.
    pub(super) node: Option<Facts>,
    pub(super) attachment: Option<Attachment>,
    /// Those that want the volume here.
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) memory: Memory,
}

/// What a node says of itself and of the volume.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    /// Its volumes are the controller's affair.
    pub(super) managed: bool,
    pub(super) healthy: bool,
    pub(super) out_of_service: bool,
    /// Its kubelet has the volume mounted, or is about to.
    pub(super) in_use: bool,
    /// Its status says that the volume is attached.
    pub(super) reports: bool,
}

/// A VolumeAttachment.
pub(super) struct Attachment {
    pub(super) attached: bool,
    /// It is being deleted.
    pub(super) leaving: bool,
    /// Why the last attempt failed, and when.
    pub(super) error: Option<(Option<Timestamp>, String)>,
}

/// What is remembered of a volume and a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Memory {
    pub(super) unwanted_since: Option<Timestamp>,
    /// It is on its way to be detached: the node's status shall not say that it is attached.
    pub(super) detaching: bool,
    /// An attachment was made, and is not seen yet.
    pub(super) requested: bool,
    attaching_since: Option<Timestamp>,
    announced: bool,
    multi_attach_told: bool,
    error_told: Option<(Option<Timestamp>, String)>,
    /// As the node said last.
    in_use: Option<bool>,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    Attach(String),
    /// Only if the node, asked now, does not use the volume; `forced` says why it is not asked, in the words of the metric.
    Detach {
        node: String,
        forced: Option<&'static str>,
    },
    /// The node's status has to be written.
    Report(String),
    /// Tell a pod of a node. Kind, reason, message.
    Tell(String, usize, &'static str, &'static str, String),
    /// Look again, then.
    Later(Duration),
}

impl Place {
    fn is_wanted(&self) -> bool {
        !self.pods.is_empty() && self.node.is_some_and(|node| node.managed)
    }

    fn reports(&self) -> bool {
        self.node.is_some_and(|node| node.reports)
    }
}

fn since(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

/// What to do about a volume. Detaching goes before attaching, so that a pod can move.
pub(super) fn sync(
    volume: &Volume<'_>,
    places: &mut BTreeMap<String, Place>,
    force_on_timeout: bool,
    now: Timestamp,
) -> Vec<Action> {
    let mut actions = Vec::new();
    for (node, place) in places.iter_mut() {
        if let Some(facts) = place.node {
            place.memory.in_use = Some(facts.in_use);
        }
        if !place.is_wanted() {
            release(node, place, force_on_timeout, now, &mut actions);
        }
    }
    let wanted: Vec<String> =
        places.iter().filter(|(_, place)| place.is_wanted()).map(|(node, _)| node.clone()).collect();
    for node in wanted {
        let others = Others::of(places, &node);
        if let Some(place) = places.get_mut(&node) {
            provide(volume, &node, place, &others, now, &mut actions);
        }
    }
    actions
}

/// Nobody wants the volume here.
fn release(node: &str, place: &mut Place, force_on_timeout: bool, now: Timestamp, actions: &mut Vec<Action>) {
    if place.attachment.is_none() && !place.reports() {
        place.memory = Memory::default();
        return;
    }
    let memory = &mut place.memory;
    (memory.announced, memory.multi_attach_told, memory.requested, memory.attaching_since) =
        (false, false, false, None);
    let waited = since(*memory.unwanted_since.get_or_insert(now), now);
    let expired = waited > MAX_WAIT_FOR_UNMOUNT && force_on_timeout;
    let (healthy, out_of_service) = place.node.map_or((false, false), |node| (node.healthy, node.out_of_service));
    let forced = (expired && !healthy) || out_of_service;
    if memory.in_use.unwrap_or(true) && !forced {
        if force_on_timeout && waited <= MAX_WAIT_FOR_UNMOUNT {
            actions.push(Action::Later(MAX_WAIT_FOR_UNMOUNT - waited + Duration::from_millis(1)));
        }
        return;
    }
    memory.detaching = true;
    if place.node.is_some_and(|node| node.reports) {
        actions.push(Action::Report(node.to_owned()));
    } else if place.attachment.as_ref().is_some_and(|attachment| !attachment.leaving) {
        let forced = if expired { Some("timeout") } else { out_of_service.then_some("out-of-service") };
        actions.push(Action::Detach { node: node.to_owned(), forced });
    }
}

/// What the other nodes have of the volume.
struct Others {
    /// An attachment, done or not, or one that is being made.
    any: bool,
    /// Attached, and not on the way to be detached.
    attached: bool,
    /// Namespace and name of the pods that want the volume where it is attached.
    pods: Vec<(String, String)>,
}

impl Others {
    fn of(places: &BTreeMap<String, Place>, node: &str) -> Self {
        let others = || places.iter().filter(|(name, _)| *name != node).map(|(_, place)| place);
        let attached =
            |place: &&Place| place.attachment.as_ref().is_some_and(|a| a.attached) && !place.memory.detaching;
        let pods = others().filter(attached).flat_map(|place| place.pods.iter());
        let named = |pod: &Arc<Pod>| (key::namespace(&pod.metadata).to_owned(), key::name(&pod.metadata).to_owned());
        Self {
            any: others().any(|place| place.attachment.is_some() || place.memory.requested),
            attached: others().any(|place| attached(&place)),
            pods: pods.map(named).collect(),
        }
    }
}

/// Pods want the volume here.
fn provide(
    volume: &Volume<'_>,
    node: &str,
    place: &mut Place,
    others: &Others,
    now: Timestamp,
    actions: &mut Vec<Action>,
) {
    let reports = place.reports();
    let memory = &mut place.memory;
    memory.unwanted_since = None;
    if std::mem::take(&mut memory.detaching) && !reports {
        actions.push(Action::Report(node.to_owned()));
    }
    let pods = 0..place.pods.len();
    let mut tell = |kind, reason, message: String| {
        actions.extend(pods.clone().map(|pod| Action::Tell(node.to_owned(), pod, kind, reason, message.clone())));
    };
    let failed = |why: &str| format!("AttachVolume.Attach failed for volume {:?} : {why}", volume.name);
    match &place.attachment {
        None if volume.exclusive && others.any => {
            if others.attached && !std::mem::replace(&mut memory.multi_attach_told, true) {
                for (i, pod) in place.pods.iter().enumerate() {
                    let message = multi_attach(volume, key::namespace(&pod.metadata), &others.pods);
                    actions.push(Action::Tell(node.to_owned(), i, "Warning", "FailedAttachVolume", message));
                }
            }
        }
        None => {
            memory.requested = true;
            actions.push(Action::Attach(node.to_owned()));
        }
        // It can be made again when it is gone.
        Some(attachment) if attachment.leaving => memory.announced = false,
        Some(attachment) if attachment.attached => {
            (memory.requested, memory.attaching_since, memory.multi_attach_told) = (false, None, false);
            if !std::mem::replace(&mut memory.announced, true) && !reports {
                let message = format!("AttachVolume.Attach succeeded for volume {:?} ", volume.name);
                tell("Normal", "SuccessfulAttachVolume", message);
            }
            if !reports {
                actions.push(Action::Report(node.to_owned()));
            }
        }
        Some(attachment) => {
            (memory.requested, memory.announced) = (false, false);
            if attachment.error.is_some() && memory.error_told != attachment.error {
                memory.error_told = attachment.error.clone();
                let why = attachment.error.as_ref().map_or("", |(_, why)| why);
                tell("Warning", "FailedAttachVolume", failed(why));
            }
            let mut waited = since(*memory.attaching_since.get_or_insert(now), now);
            if waited >= ATTACH_TIMEOUT {
                (memory.attaching_since, waited) = (Some(now), Duration::ZERO);
                let why = format!(
                    "timed out waiting for external-attacher of {} CSI driver to attach volume {}",
                    volume.driver, volume.handle
                );
                tell("Warning", "FailedAttachVolume", failed(&why));
            }
            actions.push(Action::Later(ATTACH_TIMEOUT - waited));
        }
    }
}

/// What a pod in that namespace is told of a volume that others have: names of its own namespace only.
fn multi_attach(volume: &Volume<'_>, namespace: &str, pods: &[(String, String)]) -> String {
    let local: Vec<&str> = pods.iter().filter(|(of, _)| of == namespace).map(|(_, name)| name.as_str()).collect();
    let elsewhere = pods.len() - local.len();
    let why = match (local.is_empty(), elsewhere) {
        (true, 0) => "Volume is already exclusively attached to one node and can't be attached to another".to_owned(),
        (true, n) => format!("Volume is already used by {n} pod(s) in different namespaces"),
        (false, 0) => format!("Volume is already used by pod(s) {}", local.join(", ")),
        (false, n) => {
            format!("Volume is already used by pod(s) {} and {n} pod(s) in different namespaces", local.join(", "))
        }
    };
    format!("Multi-Attach error for volume {:?} {why}", volume.name)
}

#[cfg(test)]
mod tests;
