//! When what changed that a Service's endpoints are written for: it is told in an annotation, from which others measure how
//! long the network took to follow.
//!
//! Upstream: `staging/src/k8s.io/endpointslice/util/trigger_time_tracker.go`.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Pod, Service},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use parking_lot::Mutex;

use super::{
    key::{self, Key},
    pods,
    uid::Uid,
};

const ANNOTATION: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// When the readiness of each pod changed last, as of each Service's last turn.
#[derive(Default)]
pub(crate) struct TriggerTimes(Mutex<HashMap<Key, HashMap<Uid, Timestamp>>>);

impl TriggerTimes {
    /// When the first of the changes since the last turn was: at the first turn when the Service was made.
    pub(crate) fn first_change(&self, key: &Key, service: &Service, pods: &[Arc<Pod>]) -> Option<Timestamp> {
        let ready = |pod: &Pod| Some(pods::condition(pod, "Ready")?.last_transition_time.as_ref()?.0);
        let times: HashMap<Uid, Timestamp> =
            pods.iter().filter_map(|pod| Some((Uid::new(key::uid(&pod.metadata)), ready(pod)?))).collect();
        let mut all = self.0.lock();
        let Some(before) = all.get(key) else {
            all.insert(key.clone(), times);
            return service.metadata.creation_timestamp.as_ref().map(|time| time.0);
        };
        let later = times.iter().filter(|(uid, time)| before.get(*uid).is_none_or(|before| before < *time));
        let first = later.map(|(_, time)| *time).min();
        all.insert(key.clone(), times);
        first
    }

    /// The Service is gone.
    pub(crate) fn forget(&self, key: &Key) {
        self.0.lock().remove(key);
    }
}

/// Tells the time in what is written.
pub(crate) fn annotate(meta: &mut ObjectMeta, time: Option<Timestamp>) {
    let annotations = meta.annotations.get_or_insert_default();
    match time {
        Some(time) => annotations.insert(ANNOTATION.to_owned(), time.to_string()),
        None => annotations.remove(ANNOTATION),
    };
    meta.annotations.take_if(|annotations| annotations.is_empty());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(uid: &str, ready_since: &str) -> Arc<Pod> {
        let conditions = json!([{"type": "Ready", "status": "True", "lastTransitionTime": ready_since}]);
        let conditions = if ready_since.is_empty() { json!([]) } else { conditions };
        Arc::new(
            serde_json::from_value(json!({"metadata": {"uid": uid}, "status": {"conditions": conditions}})).unwrap(),
        )
    }

    /// `trigger_time_tracker_test.go`.
    #[test]
    fn the_first_of_the_changes_since_the_last_turn_is_told() {
        let at = |second: u32| format!("2026-01-01T00:00:{second:02}Z");
        let (times, key) = (TriggerTimes::default(), Key::new("ns", "s"));
        let service: Service = serde_json::from_value(json!({"metadata": {"creationTimestamp": at(9)}})).unwrap();
        let first = |pods: &[(&str, String)]| {
            let pods: Vec<_> = pods.iter().map(|(uid, since)| pod(uid, since)).collect();
            let mut meta = ObjectMeta::default();
            annotate(&mut meta, times.first_change(&key, &service, &pods));
            meta.annotations.map(|mut told| told.remove(ANNOTATION).unwrap())
        };
        assert_eq!(first(&[("a", at(5)), ("b", at(4))]), Some(at(9)), "a new Service");
        assert_eq!(first(&[("a", at(5)), ("b", at(4))]), None);
        assert_eq!(first(&[("a", at(12)), ("b", at(11)), ("c", at(10))]), Some(at(10)), "the earliest");
        assert_eq!(first(&[("a", at(12))]), None, "a pod that went says no time");
        assert_eq!(first(&[("a", at(12)), ("b", at(11)), ("d", String::new())]), Some(at(11)), "it is back");
        times.forget(&key);
        assert_eq!(first(&[]), Some(at(9)), "another of its name");
    }

    #[test]
    fn a_time_that_is_none_is_taken_away() {
        let annotations = [(ANNOTATION.to_owned(), "x".to_owned()), ("a".to_owned(), "b".to_owned())];
        let mut meta = ObjectMeta { annotations: Some(annotations.into()), ..Default::default() };
        annotate(&mut meta, None);
        assert_eq!(meta.annotations.as_ref().unwrap().keys().collect::<Vec<_>>(), ["a"]);
    }
}
