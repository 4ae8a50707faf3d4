//! Pods that wait: ready to be tried (active), tried in vain a short while ago (backoff), and tried in vain with nothing
//! changed since that could help (unschedulable). Gated pods are among the last.
//!
//! One task owns the queue and nothing happens in the cluster while it tries a pod, so upstream's record of events
//! during an attempt is not needed. As upstream does since 1.33, a pod backing off for want of a node is tried early
//! when nothing else is ready; after an error (of the API, say) it waits its time.

#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use component::metrics::Counter;

use crate::{
    cache::pod::PodInfo,
    framework::{
        Framework, PluginSet,
        events::{Event, HintContext},
    },
    metrics::Metrics,
};

/// After this long an unschedulable pod is tried again without a reason.
const MAX_UNSCHEDULABLE: Duration = Duration::from_secs(5 * 60);

/// A pod in the queue, or taken from it.
#[derive(Clone, Debug)]
pub struct QueuedPod {
    /// The pod as last seen.
    pub pod: Arc<PodInfo>,
    /// Its profile.
    pub profile: usize,
    /// When it was last put in.
    pub since: Instant,
    /// Attempts so far.
    pub attempts: u32,
    /// Attempts that found no node.
    pub unschedulable_count: u32,
    /// Errors in a row.
    pub error_count: u32,
    /// Plugins that turned it away.
    pub rejectors: PluginSet,
    /// The plugin that gates it.
    pub gated_by: Option<usize>,
    /// When it was first tried.
    pub first_tried: Option<Instant>,
    /// It is tried again only because it has waited for long.
    pub flushed: bool,
}

impl QueuedPod {
    /// Which of the lines in metrics it is in.
    fn gauge(&self, line: Line) -> usize {
        match line {
            Line::Active => 0,
            Line::Backoff(_) | Line::ErrorBackoff(_) => 1,
            Line::Unschedulable if self.gated_by.is_none() => 2,
            Line::Unschedulable => 3,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Active,
    Backoff(Instant),
    ErrorBackoff(Instant),
    Unschedulable,
}

#[derive(Debug)]
struct Entry {
    queued: QueuedPod,
    line: Line,
    /// Changes with every move, so that leftovers in the heaps are known as such.
    ticket: u64,
}

/// Rank, time in the queue, ticket, uid.
type ActiveKey = (i64, Reverse<Instant>, Reverse<u64>, Arc<str>);
/// End of the backoff, rank, ticket, uid.
type BackoffKey = Reverse<(Instant, Reverse<i64>, u64, Arc<str>)>;

/// See the module.
pub struct Queue {
    profiles: Arc<[Framework]>,
    entries: HashMap<Arc<str>, Entry>,
    active: BinaryHeap<ActiveKey>,
    backoff: BinaryHeap<BackoffKey>,
    error_backoff: BinaryHeap<Reverse<(Instant, u64, Arc<str>)>>,
    tickets: u64,
    /// How many unschedulable pods each plugin of each profile turned away; an event that interests none of them is
    /// done with at once.
    rejections: Vec<[u32; 64]>,
    /// Counters of pods that came, by why and into which line.
    incoming: HashMap<(&'static str, &'static str), Arc<Counter>>,
    without_rejector: u32,
    initial_backoff: Duration,
    max_backoff: Duration,
}

impl Queue {
    /// An empty queue.
    pub fn new(profiles: Arc<[Framework]>, initial_backoff: Duration, max_backoff: Duration) -> Self {
        Self {
            rejections: vec![[0; 64]; profiles.len()],
            profiles,
            entries: HashMap::new(),
            incoming: HashMap::new(),
            active: BinaryHeap::new(),
            backoff: BinaryHeap::new(),
            error_backoff: BinaryHeap::new(),
            tickets: 0,
            without_rejector: 0,
            initial_backoff,
            max_backoff,
        }
    }

    /// Pods in the active, backoff and unschedulable lines.
    pub fn lengths(&self) -> (usize, usize, usize) {
        let mut lengths = (0, 0, 0);
        for entry in self.entries.values() {
            match entry.line {
                Line::Active => lengths.0 += 1,
                Line::Backoff(_) | Line::ErrorBackoff(_) => lengths.1 += 1,
                Line::Unschedulable => lengths.2 += 1,
            }
        }
        lengths
    }

    /// All pods here.
    pub fn uids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.entries.keys()
    }

    /// The pod as queued.
    pub fn get(&self, uid: &str) -> Option<&Arc<PodInfo>> {
        self.entries.get(uid).map(|entry| &entry.queued.pod)
    }

    fn count(&mut self, queued: &QueuedPod, add: bool) {
        let change = |count: &mut u32| *count = if add { *count + 1 } else { count.saturating_sub(1) };
        if queued.rejectors.is_empty() {
            change(&mut self.without_rejector);
        }
        for plugin in queued.rejectors.iter() {
            change(&mut self.rejections[queued.profile][plugin]);
            self.profiles[queued.profile].metrics.turned_away(plugin, add);
        }
    }

    fn remove(&mut self, uid: &str) -> Option<(QueuedPod, Line)> {
        let entry = self.entries.remove(uid)?;
        self.metrics().lines[entry.queued.gauge(entry.line)].add(-1);
        if entry.line == Line::Unschedulable {
            self.count(&entry.queued, false);
        }
        Some((entry.queued, entry.line))
    }

    fn metrics(&self) -> &Metrics {
        self.profiles[0].metrics.all()
    }

    fn came(&mut self, why: &'static str, line: &'static str) {
        let profiles = &self.profiles;
        let counter = self.incoming.entry((why, line)).or_insert_with(|| profiles[0].metrics.all().incoming(why, line));
        counter.add(1);
    }

    /// Puts a pod in a line; one that a plugin gates goes with the unschedulable whatever was meant. Without a reason it
    /// only keeps its place.
    fn insert(&mut self, mut queued: QueuedPod, mut line: Line, why: Option<&'static str>) {
        if line != Line::Unschedulable {
            let framework = &self.profiles[queued.profile];
            match framework.gate(&queued.pod) {
                Some((plugin, _)) => {
                    queued.gated_by = Some(plugin);
                    queued.rejectors.insert(plugin);
                    line = Line::Unschedulable;
                }
                None => queued.gated_by = None,
            }
        }
        let gauge = queued.gauge(line);
        self.metrics().lines[gauge].add(1);
        if let Some(why) = why {
            self.came(why, ["active", "backoff", "unschedulable", "unschedulable"][gauge]);
        }
        self.tickets += 1;
        let ticket = self.tickets;
        let uid = queued.pod.uid.clone();
        let rank = self.profiles[queued.profile].rank(&queued.pod);
        match line {
            Line::Active => self.active.push((rank, Reverse(queued.since), Reverse(ticket), uid.clone())),
            Line::Backoff(until) => self.backoff.push(Reverse((until, Reverse(rank), ticket, uid.clone()))),
            Line::ErrorBackoff(until) => self.error_backoff.push(Reverse((until, ticket, uid.clone()))),
            Line::Unschedulable => self.count(&queued, true),
        }
        self.entries.insert(uid, Entry { queued, line, ticket });
        self.compact();
    }

    /// Leftovers of pods that moved on never outnumber the pods by much.
    fn compact(&mut self) {
        let limit = 2 * self.entries.len() + 1024;
        let entries = &self.entries;
        let current = |uid: &Arc<str>, ticket: u64| entries.get(uid).is_some_and(|entry| entry.ticket == ticket);
        if self.active.len() > limit {
            self.active.retain(|(_, _, Reverse(ticket), uid)| current(uid, *ticket));
        }
        if self.backoff.len() > limit {
            self.backoff.retain(|Reverse((_, _, ticket, uid))| current(uid, *ticket));
        }
        if self.error_backoff.len() > limit {
            self.error_backoff.retain(|Reverse((_, ticket, uid))| current(uid, *ticket));
        }
    }

    /// A new pod.
    pub fn add(&mut self, pod: Arc<PodInfo>, profile: usize, now: Instant) {
        self.remove(&pod.uid.clone());
        let queued = QueuedPod {
            pod,
            profile,
            since: now,
            attempts: 0,
            unschedulable_count: 0,
            error_count: 0,
            rejectors: PluginSet::default(),
            gated_by: None,
            first_tried: None,
            flushed: false,
        };
        self.insert(queued, Line::Active, Some("UnschedulablePodAdd"));
    }

    /// A pod's update; `events` are what changed about it. False if it is not here.
    pub fn update(&mut self, pod: &Arc<PodInfo>, events: &[Event], context: &HintContext<'_>, now: Instant) -> bool {
        let Some((mut queued, line)) = self.remove(&pod.uid) else { return false };
        queued.pod = pod.clone();
        let framework = &self.profiles[queued.profile];
        let mut helping = events.iter().filter(|event| framework.helps(pod, queued.rejectors, event, context));
        match helping.next().filter(|_| line == Line::Unschedulable) {
            Some(event) => self.requeue(queued, now, event.label()),
            None => self.insert(queued, line, None),
        }
        true
    }

    /// A pod that is gone or has a node.
    pub fn delete(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        self.remove(uid).map(|(queued, _)| queued.pod)
    }

    /// The next pod to try. Its attempt counts.
    pub fn pop(&mut self, now: Instant) -> Option<QueuedPod> {
        self.release(now);
        while let Some((_, _, Reverse(ticket), uid)) = self.active.pop() {
            if self.entries.get(&uid).is_some_and(|entry| entry.ticket == ticket) {
                return self.take(&uid, now);
            }
        }
        while let Some(Reverse((_, _, ticket, uid))) = self.backoff.pop() {
            if self.entries.get(&uid).is_some_and(|entry| entry.ticket == ticket) {
                self.came("PopFromBackoffQ", "active");
                return self.take(&uid, now);
            }
        }
        None
    }

    fn take(&mut self, uid: &str, now: Instant) -> Option<QueuedPod> {
        let (mut queued, _) = self.remove(uid)?;
        queued.attempts += 1;
        queued.first_tried.get_or_insert(now);
        Some(queued)
    }

    /// Moves pods whose backoff is over to the active line.
    fn release(&mut self, now: Instant) {
        let mut due = Vec::new();
        while let Some(Reverse((until, _, ticket, uid))) = self.backoff.peek() {
            let current = self.entries.get(uid).is_some_and(|entry| entry.ticket == *ticket);
            if current && *until > now {
                break;
            }
            if current {
                due.push(uid.clone());
            }
            self.backoff.pop();
        }
        while let Some(Reverse((until, ticket, uid))) = self.error_backoff.peek() {
            let current = self.entries.get(uid).is_some_and(|entry| entry.ticket == *ticket);
            if current && *until > now {
                break;
            }
            if current {
                due.push(uid.clone());
            }
            self.error_backoff.pop();
        }
        for uid in due {
            if let Some((queued, _)) = self.remove(&uid) {
                self.insert(queued, Line::Active, Some("BackoffComplete"));
            }
        }
    }

    /// When something will be due by itself.
    pub fn next_due(&self) -> Option<Instant> {
        let backoff = self.backoff.peek().map(|Reverse((until, ..))| *until);
        let errors = self.error_backoff.peek().map(|Reverse((until, ..))| *until);
        backoff.into_iter().chain(errors).min()
    }

    fn backoff_end(&self, queued: &QueuedPod) -> Option<Instant> {
        let count = if queued.error_count > 0 { queued.error_count } else { queued.unschedulable_count };
        let doublings = count.checked_sub(1)?;
        let backoff = self.initial_backoff.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX));
        Some(queued.since + backoff.min(self.max_backoff))
    }

    /// Back to the active line, after the backoff that is left.
    fn requeue(&mut self, queued: QueuedPod, now: Instant, why: &'static str) {
        let line = match self.backoff_end(&queued) {
            Some(until) if until > now && queued.error_count > 0 => Line::ErrorBackoff(until),
            Some(until) if until > now => Line::Backoff(until),
            _ => Line::Active,
        };
        self.insert(queued, line, Some(why));
    }

    /// A pod came back from an attempt that failed: turned away by plugins, or (with none) for an error.
    pub fn failed(&mut self, mut queued: QueuedPod, rejectors: PluginSet, now: Instant) {
        queued.rejectors = rejectors;
        queued.since = now;
        queued.flushed = false;
        if rejectors.is_empty() {
            queued.error_count += 1;
            self.requeue(queued, now, "ScheduleAttemptFailure");
        } else {
            queued.unschedulable_count += 1;
            queued.error_count = 0;
            self.insert(queued, Line::Unschedulable, Some("ScheduleAttemptFailure"));
        }
    }

    /// Something happened: wakes the pods it can help, of those that `may` admits.
    pub fn on_event(&mut self, event: &Event, context: &HintContext<'_>, now: Instant, may: &dyn Fn(&PodInfo) -> bool) {
        let interested: Vec<PluginSet> = self.profiles.iter().map(|framework| framework.interested(event)).collect();
        let concerned = self.without_rejector > 0
            || interested
                .iter()
                .zip(&self.rejections)
                .any(|(interested, rejections)| interested.iter().any(|plugin| rejections[plugin] > 0));
        if !concerned {
            return;
        }
        let woken: Vec<Arc<str>> = self
            .entries
            .iter()
            .filter(|(_, entry)| {
                let queued = &entry.queued;
                let interested = interested[queued.profile];
                entry.line == Line::Unschedulable
                    && (queued.rejectors.is_empty() || queued.rejectors.0 & interested.0 != 0)
                    && queued.gated_by.is_none_or(|gate| interested.contains(gate))
                    && may(&queued.pod)
                    && self.profiles[queued.profile].helps(&queued.pod, queued.rejectors, event, context)
            })
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in woken {
            if let Some((queued, _)) = self.remove(&uid) {
                self.requeue(queued, now, event.label());
            }
        }
    }

    /// Wakes one pod.
    pub fn wake(&mut self, uid: &str, now: Instant) {
        if let Some((queued, _)) = self.remove(uid) {
            self.requeue(queued, now, "ForceActivate");
        }
    }

    /// Tries pods again that have been unschedulable for long.
    pub fn flush(&mut self, now: Instant) {
        let late: Vec<Arc<str>> = self
            .entries
            .iter()
            .filter(|(_, entry)| {
                entry.line == Line::Unschedulable
                    && entry.queued.gated_by.is_none()
                    && now.saturating_duration_since(entry.queued.since) > MAX_UNSCHEDULABLE
            })
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in late {
            if let Some((mut queued, _)) = self.remove(&uid) {
                queued.flushed = true;
                self.requeue(queued, now, "UnschedulableTimeout");
            }
        }
    }
}
