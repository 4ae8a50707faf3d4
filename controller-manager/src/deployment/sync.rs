//! The decisions of the deployment controller, on one picture of the cluster.
//!
//! The order is upstream's: what is being deleted is only counted; pause and resume are noted; a paused or rescaled
//! Deployment is scaled in proportion, and not rolled in the same pass; otherwise it rolls by its strategy.

use std::{sync::Arc, time::Duration};

use anyhow::bail;
use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet},
    jiff::Timestamp,
};

use super::{
    math,
    replica_sets::{self as rs, replicas},
    rollback, status,
};
use crate::util::{conditions::quote, key};

/// What the controller sees.
pub(crate) struct Observed {
    pub(crate) deployment: Arc<Deployment>,
    /// The sets that it owns.
    pub(crate) sets: Vec<Arc<ReplicaSet>>,
    /// The owners (UIDs) of pods that may still run; only needed to recreate.
    pub(crate) unfinished_pods_of: Vec<String>,
}

/// What to do, in this order.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    Create(ReplicaSet),
    Update {
        set: ReplicaSet,
        scaled_from: Option<i32>,
    },
    Delete(String),
    UpdateStatus(Deployment),
    /// Write all but its status.
    Replace(Box<Deployment>),
    /// An event: Normal or Warning.
    Say {
        kind: &'static str,
        reason: &'static str,
        message: String,
    },
}

/// The outcome of a pass.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    /// Nothing will happen by itself until then, and then it matters.
    pub(crate) check_again: Option<Duration>,
}

/// Whether all old pods go before new ones come.
pub(crate) fn recreates(d: &Deployment) -> bool {
    math::is_recreate(d)
}

/// An empty selector is a mistake; it is said and nothing is done.
pub(crate) fn selects_all(d: &Deployment) -> Plan {
    let message = "This deployment is selecting all pods. A non-empty selector is required.".into();
    let mut actions = vec![Action::Say { kind: "Warning", reason: "SelectingAll", message }];
    let mut d = d.clone();
    let status = d.status.get_or_insert_default();
    if status.observed_generation < d.metadata.generation {
        status.observed_generation = d.metadata.generation;
        actions.push(Action::UpdateStatus(d));
    }
    Plan { actions, check_again: None }
}

/// Decides.
///
/// # Errors
/// The strategy is unknown.
pub(crate) fn sync(seen: &Observed, now: Timestamp) -> anyhow::Result<Plan> {
    let mut pass = Pass::new(seen, now);
    let d = &seen.deployment;
    if d.metadata.deletion_timestamp.is_some() {
        pass.sync_revision(false);
        return Ok(pass.end(false));
    }
    pass.note_pause();
    let paused = d.spec.as_ref().and_then(|s| s.paused).unwrap_or(false);
    if let (false, Some(revision)) = (paused, rollback::wanted(d)) {
        // The next pass rolls to what is then its template.
        pass.sync_revision(true);
        let actions = rollback::to(revision, d, &pass.sets);
        pass.actions.extend(actions);
        return Ok(Plan { actions: pass.actions, check_again: None });
    }
    pass.sync_revision(false);
    if paused || pass.is_scaling() {
        pass.scale();
        if paused {
            pass.clean_up();
        }
        return Ok(pass.end(false));
    }
    if math::is_recreate(d) {
        pass.recreate(seen);
    } else if math::is_rolling(d) {
        pass.roll();
    } else {
        bail!("unexpected deployment strategy type");
    }
    Ok(pass.end(true))
}

/// A pass works on copies, so that each step sees what the ones before it decided.
struct Pass {
    d: Deployment,
    before: Arc<Deployment>,
    sets: Vec<Arc<ReplicaSet>>,
    new: Option<usize>,
    now: Timestamp,
    actions: Vec<Action>,
}

impl Pass {
    fn new(seen: &Observed, now: Timestamp) -> Self {
        let mut sets = seen.sets.clone();
        sets.sort_by(|a, b| rs::by_age(a, b));
        let new = rs::find_new(&sets, &seen.deployment);
        let before = seen.deployment.clone();
        Self { d: (*before).clone(), before, sets, new, now, actions: vec![] }
    }

    fn status(&mut self) -> &mut DeploymentStatus {
        self.d.status.get_or_insert_default()
    }

    /// The old sets, oldest first.
    fn old(&self) -> Vec<usize> {
        (0..self.sets.len()).filter(|i| Some(*i) != self.new).collect()
    }

    fn active(&self, of: Vec<usize>) -> Vec<usize> {
        of.into_iter().filter(|i| replicas(&self.sets[*i]) > 0).collect()
    }

    fn note_pause(&mut self) {
        if !status::has_progress_deadline(&self.d) {
            return;
        }
        let paused = self.d.spec.as_ref().and_then(|s| s.paused).unwrap_or(false);
        let noted = status::reason(status::get(self.status(), "Progressing")).to_owned();
        let (reason, message) = match (paused, noted.as_str()) {
            (_, "ProgressDeadlineExceeded") | (true, "DeploymentPaused") => return,
            (true, _) => ("DeploymentPaused", "Deployment is paused"),
            (false, "DeploymentPaused") => ("DeploymentResumed", "Deployment is resumed"),
            (false, _) => return,
        };
        let condition = status::condition("Progressing", "Unknown", reason, message.into(), self.now);
        status::set(self.status(), condition);
    }

    /// Gives the new set its revision, and makes it where it is missing and wanted.
    fn sync_revision(&mut self, create: bool) {
        let highest = self.old().into_iter().filter_map(|i| rs::revision(&self.sets[i])).max().unwrap_or(0);
        let revision = highest + 1;
        let progress = status::has_progress_deadline(&self.d);
        if let Some(i) = self.new {
            let mut set = (*self.sets[i]).clone();
            let wanted = self.d.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0);
            let spec = set.spec.get_or_insert_default();
            let ready_seconds_differ = spec.min_ready_seconds.unwrap_or(0) != wanted;
            spec.min_ready_seconds = Some(wanted);
            if rs::annotate_new(&mut set, &self.d, revision, true) || ready_seconds_differ {
                self.actions.push(Action::Update { set: set.clone(), scaled_from: None });
                self.sets[i] = Arc::new(set);
            }
            let set = self.sets[i].clone();
            if let Some(r) = set.metadata.annotations.as_ref().and_then(|a| a.get(rs::REVISION)) {
                self.d.metadata.annotations.get_or_insert_default().insert(rs::REVISION.into(), r.clone());
            }
            if progress && status::get(self.status(), "Progressing").is_none() {
                let message = format!("Found new replica set {}", quote(key::name(&set.metadata)));
                let c = status::condition("Progressing", "True", "FoundNewReplicaSet", message, self.now);
                status::set(self.status(), c);
            }
            return;
        }
        if !create {
            return;
        }
        let mut set = rs::make(&self.d);
        let size = self.new_size(0);
        rs::set_replicas(&mut set, size);
        rs::annotate_new(&mut set, &self.d, revision, false);
        self.d.metadata.annotations.get_or_insert_default().insert(rs::REVISION.into(), revision.to_string());
        if progress {
            let message = format!("Created new replica set {}", quote(key::name(&set.metadata)));
            let c = status::condition("Progressing", "True", "NewReplicaSetCreated", message, self.now);
            status::set(self.status(), c);
        }
        self.actions.push(Action::Create(set.clone()));
        self.sets.push(Arc::new(set));
        self.new = Some(self.sets.len() - 1);
    }

    /// How large a new set of size `current` may be now.
    fn new_size(&self, current: i32) -> i32 {
        let wanted = math::replicas(&self.d);
        if !math::is_rolling(&self.d) {
            return wanted;
        }
        // As upstream: here the surge is taken as it is written, also where both posts are zero.
        let most = wanted + math::max_surge(&self.d);
        let total = rs::wanted_of(&self.sets);
        if total >= most { current } else { current + (most - total).min(wanted - current) }
    }

    fn scale_set(&mut self, i: usize, size: i32, force: bool) -> bool {
        let from = replicas(&self.sets[i]);
        if !force && from == size {
            return false;
        }
        let mut set = (*self.sets[i]).clone();
        let annotated = rs::annotate_replicas(&mut set, &self.d);
        if from == size && !annotated {
            return false;
        }
        rs::set_replicas(&mut set, size);
        self.actions.push(Action::Update { set: set.clone(), scaled_from: (from != size).then_some(from) });
        self.sets[i] = Arc::new(set);
        from != size
    }

    /// The user changed the number of replicas since a set was last touched.
    fn is_scaling(&self) -> bool {
        let wanted = math::replicas(&self.d);
        let active = self.active((0..self.sets.len()).collect());
        active.into_iter().filter_map(|i| rs::desired_then(&self.sets[i])).any(|then| then != wanted)
    }

    /// Scales without rolling: the only active set, or all of them in proportion to their sizes.
    fn scale(&mut self) {
        let wanted = math::replicas(&self.d);
        let all: Vec<usize> = (0..self.sets.len()).collect();
        let active = self.active(all);
        match active[..] {
            [only] => {
                self.scale_set(only, wanted, false);
                return;
            }
            [] => {
                let latest = self.new.or_else(|| self.old().last().copied());
                if let Some(i) = latest {
                    self.scale_set(i, wanted, false);
                }
                return;
            }
            _ => {}
        }
        if self.new.is_some_and(|i| self.is_saturated(&self.sets[i])) {
            for i in self.active(self.old()) {
                self.scale_set(i, 0, false);
            }
        } else if math::is_rolling(&self.d) {
            self.scale_in_proportion(active);
        }
    }

    fn is_saturated(&self, set: &ReplicaSet) -> bool {
        let wanted = math::replicas(&self.d);
        replicas(set) == wanted && rs::desired_then(set) == Some(wanted) && rs::available(set) == wanted
    }

    fn scale_in_proportion(&mut self, mut active: Vec<usize>) {
        let wanted = math::replicas(&self.d);
        let allowed = if wanted > 0 { wanted + math::max_surge(&self.d) } else { 0 };
        let to_add = allowed - rs::wanted_of(&self.sets);
        match to_add {
            n if n > 0 => active.sort_by(|a, b| rs::by_size_newer(&self.sets[*a], &self.sets[*b])),
            n if n < 0 => active.sort_by(|a, b| rs::by_size_older(&self.sets[*a], &self.sets[*b])),
            _ => {}
        }
        let mut added = 0;
        let mut sizes = Vec::with_capacity(active.len());
        for &i in &active {
            let share = self.share(i, to_add, added);
            added += share;
            sizes.push(replicas(&self.sets[i]) + share);
        }
        // What rounding left over goes to the first: the largest.
        if to_add != 0 {
            sizes[0] = (sizes[0] + to_add - added).max(0);
        }
        for (i, size) in active.into_iter().zip(sizes) {
            self.scale_set(i, size, true);
        }
    }

    fn share(&self, i: usize, to_add: i32, added: i32) -> i32 {
        let (set, allowed) = (&self.sets[i], to_add - added);
        if replicas(set) == 0 || to_add == 0 || allowed == 0 {
            return 0;
        }
        let wanted = math::replicas(&self.d);
        let fraction = if wanted == 0 {
            -replicas(set)
        } else {
            let counted = self.d.status.as_ref().and_then(|s| s.replicas).unwrap_or(0);
            match rs::max_then(set).filter(|n| *n != 0).unwrap_or(counted) {
                0 => 0,
                before => math::fraction(replicas(set), before, wanted + math::max_surge(&self.d)),
            }
        };
        if to_add > 0 { fraction.min(allowed) } else { fraction.max(allowed) }
    }

    fn roll(&mut self) {
        self.sync_revision(true);
        let Some(new) = self.new else { return };
        if self.scale_up_new(new) || self.scale_down_old(new) {
            return;
        }
        self.clean_up_if_complete();
    }

    fn scale_up_new(&mut self, new: usize) -> bool {
        let (wanted, current) = (math::replicas(&self.d), replicas(&self.sets[new]));
        let size = if current > wanted { wanted } else { self.new_size(current) };
        current != wanted && self.scale_set(new, size, false)
    }

    fn scale_down_old(&mut self, new: usize) -> bool {
        let old = self.active(self.old());
        if old.is_empty() {
            return false;
        }
        let min_available = math::replicas(&self.d) - math::max_unavailable(&self.d);
        let new_set = &self.sets[new];
        let new_unavailable = replicas(new_set) - rs::available(new_set);
        let spare = rs::wanted_of(&self.sets) - min_available - new_unavailable;
        if spare <= 0 {
            return false;
        }
        // First what does not work anyway, so that broken old pods can't block a rollout.
        let mut gone = 0;
        for &i in &old {
            let (size, up) = (replicas(&self.sets[i]), rs::available(&self.sets[i]));
            if gone >= spare || size == up {
                continue;
            }
            let down = (spare - gone).min(size - up);
            gone += down.max(0);
            self.scale_set(i, size - down.max(0), false);
        }
        let available: i32 = self.sets.iter().map(|s| rs::available(s)).sum();
        let (most, mut down_now) = (available - min_available, 0);
        for &i in &old {
            let size = replicas(&self.sets[i]);
            if down_now >= most || size == 0 {
                continue;
            }
            let down = size.min(most - down_now);
            down_now += down;
            self.scale_set(i, size - down, false);
        }
        gone + down_now > 0
    }

    fn recreate(&mut self, seen: &Observed) {
        let active = self.active(self.old());
        let mut scaled = false;
        for i in active {
            scaled |= self.scale_set(i, 0, false);
        }
        let new_uid = self.new.and_then(|i| self.sets[i].metadata.uid.clone());
        let running = self.old().into_iter().any(|i| rs::actual(&self.sets[i]) > 0)
            || seen.unfinished_pods_of.iter().any(|uid| Some(uid) != new_uid.as_ref());
        if scaled || running {
            return;
        }
        if self.new.is_none() {
            self.sync_revision(true);
        }
        if let Some(i) = self.new {
            self.scale_set(i, math::replicas(&self.d), false);
        }
        self.clean_up_if_complete();
    }

    fn clean_up_if_complete(&mut self) {
        if self.d.status.as_ref().is_some_and(|s| status::complete(&self.d, s)) {
            self.clean_up();
        }
    }

    /// Deletes old, empty sets beyond the history limit, lowest revision first.
    fn clean_up(&mut self) {
        let limit = self.d.spec.as_ref().and_then(|s| s.revision_history_limit).filter(|l| *l != i32::MAX);
        let Some(limit) = limit else { return };
        let mut old: Vec<_> = self.old().into_iter().map(|i| self.sets[i].clone()).collect();
        old.retain(|s| s.metadata.deletion_timestamp.is_none());
        let excess = old.len().saturating_sub(limit.max(0) as usize);
        old.sort_by(|a, b| rs::by_revision(a, b));
        for set in old.into_iter().take(excess) {
            let observed = set.status.as_ref().and_then(|s| s.observed_generation);
            if rs::actual(&set) == 0 && replicas(&set) == 0 && set.metadata.generation <= observed {
                self.actions.push(Action::Delete(key::name(&set.metadata).to_owned()));
            }
        }
    }

    /// The status at the end, and when to look again if nothing more is to be done.
    fn end(mut self, rollout: bool) -> Plan {
        let new = self.new.map(|i| self.sets[i].clone());
        let of = if rollout { status::rollout } else { status::calculate };
        let status = of(&self.d, &self.sets, new.as_deref(), self.now);
        let check_again = if rollout { status::check_again(&self.d, &status, self.now) } else { None };
        self.d.status = Some(status);
        if self.d.status != self.before.status || self.d.metadata.annotations != self.before.metadata.annotations {
            self.actions.push(Action::UpdateStatus(self.d));
        }
        Plan { actions: self.actions, check_again }
    }
}
