//! Quotas by table: what is counted, and when a change is worth a count.

use serde_json::json;
use usage::Evaluator;

use super::*;

fn quota(hard: Value, status: Value) -> ResourceQuota {
    serde_json::from_value(json!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": status})).unwrap()
}

fn amounts(of: &[(&str, &str)]) -> Amounts {
    of.iter().map(|(name, amount)| ((*name).to_owned(), Quantity::parse(amount).unwrap())).collect()
}

fn check(hard: Value, status: Value, counted: &[(&str, &str)], want: Option<Value>) {
    let got = sync(&quota(hard.clone(), status.clone()), &amounts(counted));
    let got = got.map(|q| serde_json::to_value(q.status).unwrap());
    assert_eq!(got, want, "{hard} {status}");
}

#[test]
fn the_status_says_what_is_limited_and_what_is_used() {
    let hard = json!({"pods": "2", "requests.cpu": "1"});
    let counted = &[("pods", "1"), ("requests.cpu", "500m"), ("memory", "1Gi")];
    let want = json!({"hard": hard, "used": {"pods": "1", "requests.cpu": "500m"}});
    check(hard.clone(), json!({}), counted, Some(want.clone()));
    check(hard.clone(), want.clone(), counted, None);
    // The same amount in other words is the same.
    check(hard.clone(), json!({"hard": {"pods": "2", "requests.cpu": "1000m"}, "used": want["used"]}), counted, None);
    let written = json!({"hard": hard, "used": {"pods": "1", "requests.cpu": "0.5"}});
    check(hard.clone(), written, counted, None);
    // What is limited changed; what nobody could count keeps its figure; what is limited no more goes.
    let before = json!({"hard": {"pods": "9"}, "used": {"pods": "1", "count/x.y": "7", "secrets": "3"}});
    let now = json!({"pods": "9", "count/x.y": "8", "count/new.y": "1"});
    let want = json!({"hard": now, "used": {"pods": "0", "count/x.y": "7"}});
    check(now.clone(), before, &[("pods", "0")], Some(want));
    check(json!({}), json!({}), &[], Some(json!({"hard": {}, "used": {}})));
}

#[test]
fn what_a_quota_is_for_is_added_up() {
    let pod = |class: &str, cpu: &str| {
        let containers = json!([{"name": "c", "resources": {"requests": {"cpu": cpu}}}]);
        let pod = json!({"spec": {"priorityClassName": class, "containers": containers}});
        let pods = Evaluator::of("", "pods");
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        Counted { facts: Facts::of(pods.counted, &pod), usage: pods.usage(&pod, now) }
    };
    let pods = [pod("high", "1"), pod("low", "200m"), pod("high", "300m")];
    let check = |spec: Value, want: &[(&str, &str)]| {
        let mut used = Amounts::new();
        count(&spec, &["requests.cpu", "pods", "limits.cpu"], &pods, &mut used);
        assert_eq!(used, amounts(want), "{spec}");
    };
    check(json!({}), &[("pods", "3"), ("requests.cpu", "1500m"), ("limits.cpu", "0")]);
    let high = json!({"scopeName": "PriorityClass", "operator": "In", "values": ["high"]});
    let spec = json!({"scopeSelector": {"matchExpressions": [high]}});
    check(spec, &[("pods", "2"), ("requests.cpu", "1300m"), ("limits.cpu", "0")]);
    check(json!({"scopes": ["Terminating"]}), &[("pods", "0"), ("requests.cpu", "0"), ("limits.cpu", "0")]);
}

#[test]
fn numbers_are_in_no_scope() {
    let check = |spec: Value, want: &str| {
        let mut used = Amounts::new();
        count_number(&spec, &Evaluator::of("", "secrets"), &["secrets", "count/secrets"], 3, &mut used);
        assert_eq!(used, amounts(&[("secrets", want), ("count/secrets", want)]), "{spec}");
    };
    check(json!({}), "3");
    check(json!({"scopes": ["BestEffort"]}), "0");
}

#[test]
fn quotas_without_figures_come_first() {
    let check = |hard: Value, status: Value, want: bool| {
        let quota = quota(hard, status);
        assert_eq!(is_urgent(&quota, |name| name != "nobody/counts"), want, "{quota:?}");
    };
    let hard = json!({"pods": "1"});
    check(hard.clone(), json!({}), true);
    check(hard.clone(), json!({"hard": {"pods": "2"}, "used": {"pods": "1"}}), true);
    check(hard.clone(), json!({"hard": hard}), true);
    check(hard.clone(), json!({"hard": hard, "used": {"pods": "0"}}), false);
    check(json!({"nobody/counts": "1"}), json!({"hard": {"nobody/counts": "1"}}), false);
}

#[test]
fn changes_that_free_something_are_noticed() {
    let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
    let pod = |value: Value| serde_json::from_value::<Pod>(value).unwrap();
    let check = |old: Value, new: Value, want: bool| {
        assert_eq!(pod_frees(&pod(old.clone()), &pod(new.clone()), now), want, "{old} {new}");
    };
    let plain = json!({"status": {"phase": "Running"}});
    check(plain.clone(), plain.clone(), false);
    check(plain.clone(), json!({"status": {"phase": "Failed"}}), true);
    check(json!({"status": {"phase": "Failed"}}), json!({"status": {"phase": "Succeeded"}}), false);
    check(plain.clone(), json!({"spec": {"containers": [], "activeDeadlineSeconds": 3}}), true);
    let going = |at: &str| json!({"metadata": {"deletionTimestamp": at, "deletionGracePeriodSeconds": 30}});
    check(plain.clone(), going("2026-01-01T00:00:29Z"), true);
    check(plain.clone(), going("2026-01-01T00:00:30Z"), false);
    let has = |cpu: &str| {
        let status = json!({"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "resources": {"requests": {"cpu": cpu}}});
        json!({"status": {"phase": "Running", "containerStatuses": [status]}})
    };
    check(has("1"), has("1"), false);
    check(has("2"), has("1"), true);
    check(plain, has("1"), false);

    let service = |kind: &str| serde_json::from_value::<Service>(json!({"spec": {"type": kind}})).unwrap();
    for (old, new, want) in
        [("ClusterIP", "ExternalName", false), ("ClusterIP", "NodePort", true), ("LoadBalancer", "NodePort", true)]
    {
        assert_eq!(service_frees(&service(old), &service(new)), want, "{old} {new}");
    }
    let claim = |given: &str| {
        serde_json::from_value::<PersistentVolumeClaim>(json!({"status": {"allocatedResources": {"storage": given}}}))
            .unwrap()
    };
    assert!(claim_frees(&claim("2Gi"), &claim("1Gi")) && !claim_frees(&claim("2Gi"), &claim("2Gi")));
}
