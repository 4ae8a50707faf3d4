//! StatefulSet: pods with an ordinal each, and claims of their own.
//!
//! Upstream: `pkg/controller/statefulset`. [`sync::plan`] decides on the whole of what is seen, [`members`] does it;
//! [`revisions`] says which template is the present one. A set is not looked at before the informers have shown what was
//! written of it the last time.

mod claims;
mod identity;
mod members;
mod revisions;
mod sync;
#[cfg(test)]
mod tests;

use std::{collections::HashSet, sync::Arc, time::Duration};

use anyhow::Context as _;
use client::{Change, Informer};
use controller::{Queue, controller_of, controller_ref, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus},
        core::v1::{PersistentVolumeClaim, Pod},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
    jiff::Timestamp,
};
use kube::{Api, api::PostParams};
use parking_lot::Mutex;

use crate::{
    context::Context,
    metrics,
    util::{
        freshness::{Freshness, STALE_WAIT},
        history::{self, HASH_LABEL, History},
        key::{self, Key},
        owners, pods,
        selector::Selector,
    },
};
use members::Members;
use revisions::Update;
use sync::Observed;

/// How often a status is written on a fresh copy before the key is retried.
const STATUS_TRIES: usize = 5;

/// What is written of a set, by what informer it comes back.
#[derive(Clone, Copy)]
enum Written {
    Set,
    Pod,
    Claim,
}

/// Runs the StatefulSet controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

struct Shell {
    context: Context,
    sets: Informer<StatefulSet>,
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
    revisions: Informer<ControllerRevision>,
    queue: Queue<Key>,
    written: Freshness<3>,
    /// Sets that wait for a claim to go.
    blocked: Mutex<HashSet<Key>>,
}

async fn run(context: Context) -> anyhow::Result<()> {
    let informers = context.informers.clone();
    let (workers, cancel) = (context.config.concurrent_statefulset_syncs, context.cancel.clone());
    let shell = Arc::new(Shell {
        context,
        sets: informers.of(),
        pods: informers.of(),
        claims: informers.of(),
        revisions: informers.of(),
        queue: Queue::new(),
        written: Freshness::default(),
        blocked: Mutex::default(),
    });
    let s = shell.clone();
    shell.sets.on_change(move |change| {
        let key = Key::of(&change.object().metadata);
        if matches!(change, Change::Deleted(_)) {
            s.written.forget(&key);
        }
        s.queue.add(key);
        s.wake_waiting();
    });
    let s = shell.clone();
    shell.pods.on_change(move |change| {
        s.pod_changed(change);
        s.wake_waiting();
    });
    let s = shell.clone();
    shell.claims.on_change(move |change| {
        if matches!(change, Change::Deleted(_)) {
            std::mem::take(&mut *s.blocked.lock()).into_iter().for_each(|key| s.queue.add(key));
        }
        s.wake_waiting();
    });
    shell.sets.synced().await;
    shell.pods.synced().await;
    shell.claims.synced().await;
    shell.revisions.synced().await;
    run_workers(shell.context.name, &shell.queue, workers, cancel, |key| shell.reconcile(key)).await;
    Ok(())
}

impl Shell {
    /// The sets that wait for an informer look whether it has come that far.
    fn wake_waiting(&self) {
        self.written.waiting().into_iter().for_each(|key| self.queue.add(key));
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        let pod = change.object();
        let Change::Updated { old, .. } = change else {
            // An orphan that goes concerns nobody.
            let gone = matches!(change, Change::Deleted(_)) || pods::is_terminating(pod);
            return if gone { self.wake_owner(&pod.metadata) } else { self.wake(&pod.metadata) };
        };
        let (was, is) = (controller_of(&old.metadata), controller_of(&pod.metadata));
        if was != is {
            self.wake_owner(&old.metadata);
        }
        if is.is_some() || was != is || old.metadata.labels != pod.metadata.labels {
            self.wake(&pod.metadata);
        }
        if let Some((key, set)) = is.and_then(|o| self.resolve(&pod.metadata, o)) {
            let wait = sync::min_ready_seconds(&set);
            if wait > 0 && !pods::is_ready(old) && pods::is_ready(pod) {
                self.queue.add_after(key, Duration::from_secs(wait.unsigned_abs().into()));
            }
        }
    }

    /// The owner, or whoever may want an orphan.
    fn wake(&self, pod: &ObjectMeta) {
        if controller_of(pod).is_some() {
            return self.wake_owner(pod);
        }
        owners::selecting(&self.sets, pod, selector).into_iter().for_each(|key| self.queue.add(key));
    }

    fn wake_owner(&self, pod: &ObjectMeta) {
        if let Some((key, _)) = controller_of(pod).and_then(|o| self.resolve(pod, o)) {
            self.queue.add(key);
        }
    }

    fn resolve(&self, pod: &ObjectMeta, owner: &OwnerReference) -> Option<(Key, Arc<StatefulSet>)> {
        owners::resolve(&self.sets, pod.namespace.as_deref(), owner)
    }

    fn api(&self, key: &Key) -> Api<StatefulSet> {
        Api::namespaced(self.context.client.clone(), &key.namespace)
    }

    /// The claims of a pod that are there.
    fn claims_of(&self, set: &StatefulSet, pod: &Pod) -> impl Iterator<Item = Arc<PersistentVolumeClaim>> {
        let ordinal = identity::ordinal(pod).unwrap_or(-1);
        let names = identity::claim_templates(set).iter().map(move |t| identity::claim_name(set, t, ordinal));
        names.filter_map(|name| self.claims.get(set.metadata.namespace.as_deref(), &name))
    }

    async fn reconcile(&self, key: Key) -> anyhow::Result<()> {
        let seen = || [self.sets.version(), self.pods.version(), self.claims.version()];
        if let Some(kind) = self.written.behind(&key, seen) {
            let kinds = [["apps", "statefulsets"], ["", "pods"], ["", "persistentvolumeclaims"]];
            metrics::STALE_STATEFUL.with(&kinds[kind]).add(1);
            self.queue.add_after(key, STALE_WAIT);
            return Ok(());
        }
        let Some(set) = self.sets.get(Some(&key.namespace), &key.name) else { return Ok(()) };
        let Some(selector) = selector(&set) else { return Ok(()) };
        let Some(mut revisions) = self.own_revisions(&key, &set, &selector).await? else { return Ok(()) };
        revisions.sort_by(|a, b| history::by_number(a, b));
        let pods = self.own_pods(&key, &set, &selector).await?;

        let (update, collisions) = self.update_revision(&key, &set, &revisions).await?;
        let named = set.status.as_ref().and_then(|s| s.current_revision.as_ref());
        let current = revisions.iter().find(|r| r.metadata.name.as_ref() == named).unwrap_or(&update);
        let live = [current, &update].map(|r| key::name(&r.metadata));
        let (current_set, update_set) = (restored(&set, current)?, restored(&set, &update)?);
        // Before the claims are looked at: one that goes after that wakes the set.
        self.blocked.lock().insert(key.clone());
        let claim = |name: &str| self.claims.get(Some(&key.namespace), name);
        let seen = Observed {
            set: &set,
            current: (&current_set, live[0]),
            update: (&update_set, live[1]),
            collisions,
            pods: &pods,
            claim: &claim,
            now: Timestamp::now(),
        };
        let mut plan = sync::plan(&seen);
        if !plan.blocked {
            self.blocked.lock().remove(&key);
        }
        let members = Members { shell: self, key: &key, set: &set };
        let (replaced, done) = members.carry_out(&plan).await;
        if replaced {
            plan.status.current_replicas = plan.status.current_replicas.map(|n| n - 1);
        }
        sync::complete(&set, &mut plan.status);
        let said = self.write_status(&key, &set, &plan.status).await;
        let surplus = revisions::surplus(&set, &revisions, &live, &pods);
        let cut = self.cut(&key, surplus).await;
        done.and(said).and(cut)?;
        if let Some(wait) = sync::next_check(&seen, &plan.status) {
            self.queue.add_after(key, wait);
        }
        Ok(())
    }

    fn history<'a>(&'a self, key: &'a Key) -> History<'a> {
        History { client: &self.context.client, namespace: &key.namespace }
    }

    /// Its revisions, orphans of its labels among them. Nothing if the set is being deleted and has lost some: then they
    /// are being orphaned, and nothing right can be said of it.
    async fn own_revisions(
        &self,
        key: &Key,
        set: &Arc<StatefulSet>,
        selector: &Selector,
    ) -> anyhow::Result<Option<Vec<Arc<ControllerRevision>>>> {
        let mut candidates = owners::candidates(&self.revisions, &set.metadata);
        candidates.retain(|r| selector.matches(r.metadata.labels.as_ref()));
        let orphaned = candidates.iter().any(|r| controller_of(&r.metadata).is_none());
        if orphaned && set.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let claim = owners::claim(&set.metadata, selector, candidates);
        let fresh = || async { Ok(self.api(key).get(&key.name).await?.metadata) };
        let owned = owners::carry_out(&self.context.client, &controller_ref(&**set), claim, fresh).await;
        owned.map(Some).context("can't adopt ControllerRevisions")
    }

    async fn own_pods(&self, key: &Key, set: &Arc<StatefulSet>, selector: &Selector) -> anyhow::Result<Vec<Arc<Pod>>> {
        let candidates = owners::candidates(&self.pods, &set.metadata);
        let member = |pod: &Pod| selector.matches(pod.metadata.labels.as_ref()) && identity::is_member(set, pod);
        let claim = owners::claim_where(&set.metadata, member, candidates);
        let fresh = || async { Ok(self.api(key).get(&key.name).await?.metadata) };
        owners::carry_out(&self.context.client, &controller_ref(&**set), claim, fresh).await
    }

    /// The revision of the present template, and the number of collisions that its name took.
    async fn update_revision(
        &self,
        key: &Key,
        set: &StatefulSet,
        revisions: &[Arc<ControllerRevision>],
    ) -> anyhow::Result<(Arc<ControllerRevision>, i32)> {
        let mut collisions = set.status.as_ref().and_then(|s| s.collision_count).unwrap_or(0);
        let mut proposed = match revisions::update(set, revisions) {
            Update::Newest(newest) => return Ok((newest, collisions)),
            Update::Renumber(earlier, number) => {
                return Ok((Arc::new(self.history(key).renumber(&earlier, number).await?), collisions));
            }
            Update::Create(proposed) => proposed,
        };
        let hash = history::hash(history::data_of(&proposed), collisions);
        proposed.metadata.labels.get_or_insert_default().insert(HASH_LABEL.into(), hash);
        loop {
            let hash = history::hash(history::data_of(&proposed), collisions);
            let name = history::name(&key.name, &hash);
            proposed.metadata.name = Some(name.clone());
            // It would be the last thing made for a set that goes.
            if set.metadata.deletion_timestamp.is_some() {
                return Ok((Arc::new(*proposed), collisions));
            }
            match self.history(key).create(&proposed).await {
                Err(error) if client::is_already_exists(&error) => {}
                created => return Ok((Arc::new(created?), collisions)),
            }
            let existing = self.history(key).get(&name).await?;
            if history::data_of(&existing) == history::data_of(&proposed) {
                return Ok((Arc::new(existing), collisions));
            }
            collisions += 1;
        }
    }

    async fn cut(&self, key: &Key, surplus: Vec<Arc<ControllerRevision>>) -> anyhow::Result<()> {
        for revision in surplus {
            self.history(key).delete(&revision).await?;
        }
        Ok(())
    }

    async fn write_status(&self, key: &Key, set: &StatefulSet, status: &StatefulSetStatus) -> anyhow::Result<()> {
        if !sync::differs(set, status) {
            return Ok(());
        }
        let (api, mut set) = (self.api(key), set.clone());
        for attempt in 1.. {
            set.status = Some(status.clone());
            match api.replace_status(&key.name, &PostParams::default(), &set).await {
                Ok(written) => {
                    self.written.note(key, Written::Set as usize, &written.metadata);
                    break;
                }
                Err(e) if attempt < STATUS_TRIES && client::is_conflict(&e) => set = api.get(&key.name).await?,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}

fn restored(set: &StatefulSet, revision: &ControllerRevision) -> anyhow::Result<StatefulSet> {
    history::restored(set, history::data_of(revision))
}

/// Nothing if it is invalid.
fn selector(set: &StatefulSet) -> Option<Selector> {
    Selector::new(&set.spec.as_ref()?.selector)
}
