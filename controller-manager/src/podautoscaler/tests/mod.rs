//! Upstream's tables (`replica_calculator_test.go`, `horizontal_test.go`), and turns as a whole.

mod calculator;
mod groups;
mod normalizing;
mod turns;

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::{
    api::core::v1::Pod,
    jiff::{SignedDuration, Timestamp},
};
use serde_json::{Value, json};

use super::requests::Patience;

/// When all of these happen.
fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn secs_ago(secs: i64) -> Timestamp {
    now() - SignedDuration::from_secs(secs)
}

/// As upstream's tests have it.
const PATIENCE: Patience =
    Patience { cpu_initialization: SignedDuration::from_secs(120), initial_readiness: SignedDuration::from_secs(10) };

fn pod(value: Value) -> Arc<Pod> {
    Arc::new(serde_json::from_value(value).unwrap())
}

/// A pod that is ready for long, whose one container requests that.
fn requesting(name: &str, requests: Value) -> Arc<Pod> {
    let started = secs_ago(3600).to_string();
    pod(json!({
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]},
        "status": {"phase": "Running", "startTime": started, "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": started},
        ]},
    }))
}

/// A line `key=value ... -> outcome` of a table.
struct Row<'t> {
    text: &'t str,
    given: HashMap<&'t str, &'t str>,
    want: &'t str,
}

impl<'t> Row<'t> {
    fn all(table: &'t str) -> Vec<Self> {
        let row = |text: &'t str| {
            let (given, want) = text.split_once(" -> ").unwrap();
            Row { text, given: given.split(' ').map(|pair| pair.split_once('=').unwrap()).collect(), want }
        };
        table.lines().map(row).collect()
    }

    fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(&self, key: &str) -> T {
        self.given[key].parse().unwrap()
    }

    fn list(&self, key: &str) -> Vec<&'t str> {
        self.given.get(key).map(|list| list.split(',').filter(|item| !item.is_empty()).collect()).unwrap_or_default()
    }
}
