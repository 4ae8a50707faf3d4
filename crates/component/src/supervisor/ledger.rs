//! What all tasks of the process have on their record: panics and restarts by label, and which are in trouble now.
//!
//! It is one for the process, like the endpoints that show it.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Name, restart::WELL};
use crate::metrics::Text;

/// So many panics without a good run between them are trouble.
const TROUBLE: u32 = 3;

static LEDGER: Mutex<Ledger> = Mutex::new(Ledger { counts: BTreeMap::new(), shaky: BTreeMap::new(), next: 0 });

struct Ledger {
    counts: BTreeMap<&'static str, Counts>,
    shaky: BTreeMap<u64, Shaky>,
    next: u64,
}

#[derive(Default)]
struct Counts {
    panics: u64,
    restarts: u64,
}

/// A restarting task that panicked since it last ran well.
struct Shaky {
    name: Name,
    panics: u32,
    /// Since when it runs again; `None` in the back-off.
    running: Option<Instant>,
}

/// Makes the series of a task, so that its first panic is an increase.
pub(super) fn known(name: &Name) {
    LEDGER.lock().counts.entry(name.label()).or_default();
}

pub(super) fn panicked(name: &Name) {
    LEDGER.lock().counts.entry(name.label()).or_default().panics += 1;
}

/// The record of one restarting task; gone with it.
pub(super) struct Record(u64);

impl Record {
    pub(super) fn new() -> Self {
        let mut ledger = LEDGER.lock();
        ledger.next += 1;
        Self(ledger.next)
    }

    /// It failed, by a panic or an error, after it ran well or not.
    pub(super) fn failed(&self, name: &Name, panic: bool, well: bool) {
        let mut ledger = LEDGER.lock();
        if well {
            ledger.shaky.remove(&self.0);
        }
        if panic {
            let fresh = || Shaky { name: name.clone(), panics: 0, running: None };
            ledger.shaky.entry(self.0).or_insert_with(fresh).panics += 1;
        }
        if let Some(shaky) = ledger.shaky.get_mut(&self.0) {
            shaky.running = None;
        }
    }

    pub(super) fn restarted(&self, name: &Name) {
        let mut ledger = LEDGER.lock();
        ledger.counts.entry(name.label()).or_default().restarts += 1;
        if let Some(shaky) = ledger.shaky.get_mut(&self.0) {
            shaky.running = Some(Instant::now());
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        LEDGER.lock().shaky.remove(&self.0);
    }
}

/// The names of the tasks that panic again and again, until they have run well for a minute.
pub fn troubled() -> Vec<String> {
    let ledger = LEDGER.lock();
    let bad = |s: &&Shaky| s.panics >= TROUBLE && s.running.is_none_or(|since| since.elapsed() < WELL);
    ledger.shaky.values().filter(bad).map(|s| s.name.to_string()).collect()
}

/// The counters as Prometheus text, for every component's `/metrics`.
pub fn metrics() -> String {
    let ledger = LEDGER.lock();
    let mut out = Text::default();
    let mut family = |name: &str, help: &str, value: fn(&Counts) -> u64| {
        out.head(name, help, "counter");
        for (label, counts) in &ledger.counts {
            out.line(name, &["task"], &[label], value(counts) as f64);
        }
    };
    family("ferry_task_panics_total", "Panics of this process's tasks, by the task's name.", |c| c.panics);
    family("ferry_task_restarts_total", "Restarts of this process's tasks after a panic or an error.", |c| c.restarts);
    out.finish()
}
