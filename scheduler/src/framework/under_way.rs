//! Pods that have a node and are not bound yet: they wait for the permission of plugins, then PreBind works for them.
//!
//! Until the binding itself is begun a pod can be stopped: turned away by a plugin it waits for, preempted without a
//! word to the API server, or given up because it or its node is gone (`runtime/waiting_pods_map.go`,
//! `runtime/pods_in_prebind_map.go`).

use std::{collections::HashMap, future::Future, pin::pin, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::cache::pod::PodInfo;

/// The longest that a plugin may make a pod wait.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// Why a pod was stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// A plugin turned it away.
    Rejected(&'static str, String),
    /// It is tried again, for no plugin's reason.
    Cancelled(String),
}

#[derive(Debug, Default)]
struct Progress {
    /// Plugins whose permission is not there yet, with how long each is waited for.
    pending: Vec<(&'static str, Duration)>,
    permitted: bool,
    stopped: Option<Stopped>,
    /// From here on nothing stops it.
    binding: bool,
}

/// See the module.
#[derive(Debug)]
pub struct UnderWay {
    /// The pod.
    pub pod: Arc<PodInfo>,
    /// Its node.
    pub node_name: Arc<str>,
    progress: Mutex<Progress>,
    changed: Notify,
}

impl UnderWay {
    /// A pod that waits for these plugins, for none perhaps.
    pub fn new(pod: Arc<PodInfo>, node_name: Arc<str>, mut pending: Vec<(&'static str, Duration)>) -> Self {
        for (_, wait) in &mut pending {
            *wait = LONGEST_WAIT.min(*wait);
        }
        let progress = Progress { permitted: pending.is_empty(), pending, ..Progress::default() };
        Self { pod, node_name, progress: Mutex::new(progress), changed: Notify::new() }
    }

    /// Whether it waits for a permission.
    pub fn waits(&self) -> bool {
        !self.progress.lock().pending.is_empty()
    }

    /// The plugins it waits for.
    pub fn pending(&self) -> Vec<&'static str> {
        self.progress.lock().pending.iter().map(|(plugin, _)| *plugin).collect()
    }

    /// A plugin has nothing against it any more.
    pub fn allow(&self, plugin: &str) {
        let mut progress = self.progress.lock();
        progress.pending.retain(|(other, _)| *other != plugin);
        progress.permitted = progress.pending.is_empty();
        self.changed.notify_waiters();
    }

    /// A plugin turns it away. False if it was permitted or stopped before.
    pub fn reject(&self, plugin: &'static str, message: impl Into<String>) -> bool {
        let mut progress = self.progress.lock();
        let late = progress.permitted || progress.stopped.is_some();
        if !late {
            self.stop_with(&mut progress, Stopped::Rejected(plugin, message.into()));
        }
        !late
    }

    /// Takes its node away for a pod of higher priority. False if it is too late for that.
    pub fn preempt(&self, by: &str) -> bool {
        let permitted = self.progress.lock().permitted;
        self.cancel(if permitted { format!("preempted by {by}") } else { "preempted".to_owned() })
    }

    /// Has it tried again. False if it is too late for that.
    pub fn cancel(&self, message: impl Into<String>) -> bool {
        let mut progress = self.progress.lock();
        if progress.binding {
            return false;
        }
        if progress.stopped.is_none() {
            self.stop_with(&mut progress, Stopped::Cancelled(message.into()));
        }
        true
    }

    fn stop_with(&self, progress: &mut Progress, why: Stopped) {
        progress.stopped = Some(why);
        self.changed.notify_waiters();
    }

    /// Until every plugin has permitted it.
    pub async fn permitted(&self) -> Result<(), Stopped> {
        let begun = Instant::now();
        loop {
            let changed = self.changed.notified();
            let mut changed = pin!(changed);
            changed.as_mut().enable();
            let next = {
                let progress = self.progress.lock();
                if let Some(why) = &progress.stopped {
                    return Err(why.clone());
                }
                let Some((plugin, wait)) = progress.pending.iter().min_by_key(|(_, wait)| *wait) else { return Ok(()) };
                (*plugin, *wait)
            };
            let (plugin, wait) = next;
            if tokio::time::timeout_at(begun + wait, changed).await.is_err() {
                let wait = machinery::duration::text(wait.as_nanos() as i64);
                self.reject(plugin, format!("rejected due to timeout after waiting {wait} at plugin {plugin}"));
            }
        }
    }

    /// Does this unless the pod is stopped meanwhile.
    pub async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Stopped> {
        let mut work = pin!(work);
        loop {
            let changed = self.changed.notified();
            let mut changed = pin!(changed);
            changed.as_mut().enable();
            if let Some(why) = &self.progress.lock().stopped {
                return Err(why.clone());
            }
            tokio::select! {
                done = &mut work => return Ok(done),
                () = changed => {}
            }
        }
    }

    /// The binding begins: it can't be stopped any more.
    pub fn begin_binding(&self) -> Result<(), Stopped> {
        let mut progress = self.progress.lock();
        match &progress.stopped {
            Some(why) => Err(why.clone()),
            None => {
                progress.binding = true;
                Ok(())
            }
        }
    }
}

/// The pods that wait for a permission, of all profiles.
#[derive(Debug, Default)]
pub struct WaitingPods(Mutex<HashMap<Arc<str>, Arc<UnderWay>>>);

impl WaitingPods {
    /// One more.
    pub fn add(&self, pod: Arc<UnderWay>) {
        self.0.lock().insert(pod.pod.uid.clone(), pod);
    }

    /// The one with that uid.
    pub fn get(&self, uid: &str) -> Option<Arc<UnderWay>> {
        self.0.lock().get(uid).cloned()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<UnderWay>> {
        self.0.lock().values().cloned().collect()
    }

    /// It waits no more.
    pub fn remove(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;

    fn waiting(pending: &[(&'static str, u64)]) -> UnderWay {
        let pod = serde_json::json!({"metadata": {"name": "p", "namespace": "default", "uid": "p"}});
        let pod = Cache::default().read_pod(&serde_json::from_value(pod).expect("a pod"));
        let pending = pending.iter().map(|(plugin, wait)| (*plugin, Duration::from_secs(*wait))).collect();
        UnderWay::new(pod, Arc::from("a"), pending)
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_waits_for_all_plugins_and_for_each_only_so_long() {
        let pod = waiting(&[]);
        assert_eq!(pod.permitted().await, Ok(()));

        let pod = waiting(&[("A", 10), ("B", 20)]);
        let begun = Instant::now();
        pod.allow("A");
        assert_eq!(pod.pending(), ["B"]);
        let late = "rejected due to timeout after waiting 20s at plugin B".to_owned();
        assert_eq!(pod.permitted().await, Err(Stopped::Rejected("B", late)));
        assert_eq!(begun.elapsed(), Duration::from_secs(20));

        let pod = waiting(&[("A", 10), ("B", 20)]);
        pod.allow("A");
        pod.allow("B");
        assert!(!pod.reject("A", "no"), "it is permitted");
        assert_eq!(pod.permitted().await, Ok(()));

        let pod = waiting(&[("A", 3600)]);
        let late = "rejected due to timeout after waiting 15m0s at plugin A".to_owned();
        assert_eq!(pod.permitted().await, Err(Stopped::Rejected("A", late)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_pod_is_told_at_once() {
        let pod = Arc::new(waiting(&[("A", 10)]));
        let told = async {
            tokio::task::yield_now().await;
            assert!(pod.reject("A", "no"));
        };
        let (ended, ()) = tokio::join!(pod.permitted(), told);
        assert_eq!(ended, Err(Stopped::Rejected("A", "no".to_owned())));

        let pod = waiting(&[("A", 10)]);
        assert!(pod.preempt("DefaultPreemption"));
        assert_eq!(pod.permitted().await, Err(Stopped::Cancelled("preempted".to_owned())));
    }

    #[tokio::test]
    async fn work_ends_when_its_pod_is_stopped_and_a_binding_does_not() {
        let pod = waiting(&[]);
        assert_eq!(pod.unless_stopped(std::future::ready(1)).await, Ok(1));
        let stopping = async {
            tokio::task::yield_now().await;
            assert!(pod.preempt("DefaultPreemption"));
        };
        let (ended, ()) = tokio::join!(pod.unless_stopped(std::future::pending::<()>()), stopping);
        let why = Stopped::Cancelled("preempted by DefaultPreemption".to_owned());
        assert_eq!(ended, Err(why.clone()));
        assert_eq!(pod.begin_binding(), Err(why));

        let pod = waiting(&[]);
        assert_eq!(pod.begin_binding(), Ok(()));
        assert!(!pod.cancel("its node is gone"));
    }
}
