//! Which figures count, and what pods request.

use super::*;
use crate::podautoscaler::requests::{self, Groups, Sample};

/// A pod, its figure if it has one, the resource, and which group it comes to.
struct Case {
    what: &'static str,
    status: Value,
    figure: Option<(i64, i64)>,
    resource: &'static str,
    group: &'static str,
}

fn status(phase: &str, started: Option<i64>, ready: Option<(&str, i64)>) -> Value {
    let mut status = json!({"phase": phase});
    if let Some(secs) = started {
        status["startTime"] = json!(secs_ago(secs).to_string());
    }
    if let Some((is, secs)) = ready {
        status["conditions"] =
            json!([{"type": "Ready", "status": is, "lastTransitionTime": secs_ago(secs).to_string()}]);
    }
    status
}

#[test]
fn figures_count_once_a_pod_is_ready() {
    let case = |what, status, figure, resource, group| Case { what, status, figure, resource, group };
    // A figure is so many seconds old, of a window of so many.
    let cases = [
        case("memory needs no readiness", status("Succeeded", None, None), Some((0, 60)), "memory", "ready"),
        case("no condition", status("Succeeded", Some(0), None), Some((0, 60)), "cpu", "unready"),
        case("no start", status("Running", None, Some(("True", 30))), Some((0, 30)), "cpu", "unready"),
        case("fresh", status("Succeeded", Some(60), Some(("True", 30))), Some((0, 30)), "cpu", "ready"),
        case("not a whole window", status("Succeeded", Some(60), Some(("True", 30))), Some((0, 60)), "cpu", "unready"),
        case(
            "unready in the beginning",
            status("Succeeded", Some(60), Some(("False", 30))),
            Some((0, 30)),
            "cpu",
            "unready",
        ),
        case(
            "at the end of the beginning",
            status("Running", Some(120), Some(("False", 5))),
            Some((0, 30)),
            "cpu",
            "ready",
        ),
        case("became unready", status("Succeeded", Some(180), Some(("False", 60))), Some((0, 60)), "cpu", "ready"),
        case("never was ready", status("Succeeded", Some(180), Some(("False", 175))), Some((0, 60)), "cpu", "unready"),
        case(
            "ready after its beginning",
            status("Succeeded", Some(180), Some(("True", 175))),
            Some((0, 60)),
            "cpu",
            "ready",
        ),
        case("without a figure", status("Succeeded", Some(180), Some(("True", 60))), None, "cpu", "missing"),
        case("pending", status("Pending", Some(180), Some(("True", 60))), None, "cpu", "unready"),
        case("failed", status("Failed", Some(180), Some(("True", 60))), Some((0, 60)), "cpu", "ignored"),
    ];
    for Case { what, status, figure, resource, group } in cases {
        let pods = [pod(json!({"metadata": {"name": "p"}, "status": status}))];
        let sample = |(age, window)| Sample { at: secs_ago(age), window: SignedDuration::from_secs(window), value: 1 };
        let samples = figure.map(|figure| ("p".to_owned(), sample(figure))).into_iter().collect();
        let got = requests::group(&pods, &samples, resource, PATIENCE, now());
        let names = |is: bool| if is { ["p".to_owned()].into() } else { Default::default() };
        let want = Groups {
            ready: i64::from(group == "ready"),
            unready: names(group == "unready"),
            missing: names(group == "missing"),
            ignored: names(group == "ignored"),
        };
        assert_eq!(got, want, "{what}");
    }
    let deleted = [pod(
        json!({"metadata": {"name": "p", "deletionTimestamp": now().to_string()}, "status": {"phase": "Pending"}}),
    )];
    let got = requests::group(&deleted, &Default::default(), "cpu", PATIENCE, now());
    assert_eq!((got.ignored.len(), got.unready.len()), (1, 0), "deletion comes before the phase");
}

#[test]
fn requests_are_of_containers_or_of_the_pod() {
    let container = |name: &str, cpu: &str| json!({"name": name, "resources": {"requests": {"cpu": cpu}}});
    let sidecar = json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}});
    let regular = json!([container("a", "100m"), container("b", "200m")]);
    let with = |extra: Value| {
        let mut spec = json!({"containers": regular});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        [pod(json!({"metadata": {"name": "p"}, "spec": spec}))]
    };
    let of_pod = json!({"resources": {"requests": {"cpu": "1"}}});
    let cases = [
        ("sum", with(json!({})), "", Ok(300)),
        ("one container", with(json!({})), "b", Ok(200)),
        (
            "sidecars count, other init containers do not",
            with(json!({"initContainers": [container("i", "9"), sidecar]})),
            "",
            Ok(350),
        ),
        ("a sidecar", with(json!({"initContainers": [sidecar]})), "s", Ok(50)),
        ("no such container", with(json!({})), "z", Err("container z not found in Pod p")),
        ("the pod's own", with(of_pod.clone()), "", Ok(1000)),
        ("one container, though the pod has its own", with(of_pod), "a", Ok(100)),
        (
            "the pod's own of another resource",
            with(json!({"resources": {"requests": {"memory": "1Gi"}}, "initContainers": [container("i", "400m")]})),
            "",
            Ok(400),
        ),
        (
            "with overhead",
            with(json!({"resources": {"requests": {"cpu": "1"}}, "overhead": {"cpu": "5m"}})),
            "",
            Ok(1005),
        ),
        (
            "missing in one",
            [pod(json!({"metadata": {"name": "p"}, "spec": {"containers": [container("a", "1"), {"name": "b"}]}}))],
            "",
            Err("missing request for cpu in container b of Pod p"),
        ),
        (
            "missing in all",
            [pod(json!({"metadata": {"name": "p"}, "spec": {
                "containers": [{"name": "b"}], "resources": {"requests": {"memory": "1"}},
            }}))],
            "",
            Err("missing pod-level request for cpu in Pod p"),
        ),
    ];
    for (what, pods, container, want) in cases {
        let got = requests::of_pods(&pods, container, "cpu");
        let want = want.map(|milli| [("p".to_owned(), milli)].into()).map_err(str::to_owned);
        assert_eq!(got, want, "{what}");
    }
}
