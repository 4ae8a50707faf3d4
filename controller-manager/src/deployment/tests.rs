//! Rollouts by table: what is there, and what is done about it.

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;
use crate::deployment::{replica_sets as rs, sync::Plan};

const NOW: &str = "2026-01-01T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn deployment(replicas: i32, image: &str, more: Value) -> Deployment {
    let mut d = json!({
        "metadata": {"name": "web", "namespace": "ns", "uid": "d", "generation": 2},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 1, "template": template(image),
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
        },
        "status": {"observedGeneration": 1},
    });
    merge(&mut d, more);
    serde_json::from_value(d).unwrap()
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            more.into_iter().for_each(|(k, v)| merge(into.entry(k).or_insert(Value::Null), v));
        }
        (into, more) => *into = more,
    }
}

/// A set: name, image, revision, wanted, actual and available replicas; `desired` is the Deployment's size then.
fn set(name: &str, image: &str, revision: i32, counts: (i32, i32, i32), desired: i32) -> Arc<ReplicaSet> {
    let (wanted, actual, available) = counts;
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {
                "name": name, "uid": name, "generation": 1, "creationTimestamp": format!("2026-01-01T00:00:{revision:02}Z"),
                "annotations": {
                    "deployment.kubernetes.io/revision": revision.to_string(),
                    "deployment.kubernetes.io/desired-replicas": desired.to_string(),
                    "deployment.kubernetes.io/max-replicas": (desired + (desired + 3) / 4).to_string(),
                },
            },
            "spec": {"replicas": wanted, "selector": {}, "template": template(image)},
            "status": {"replicas": actual, "readyReplicas": available, "availableReplicas": available, "observedGeneration": 1},
        }))
        .unwrap(),
    )
}

fn plan(d: &Deployment, sets: &[Arc<ReplicaSet>], pods_of: &[&str]) -> Plan {
    let unfinished_pods_of = pods_of.iter().map(|s| (*s).to_owned()).collect();
    let seen = Observed { deployment: Arc::new(d.clone()), sets: sets.to_vec(), unfinished_pods_of };
    sync::sync(&seen, now()).unwrap()
}

fn print(plan: &Plan) -> String {
    let mut out = String::new();
    for action in &plan.actions {
        match action {
            Action::Create(s) => {
                let revision = &s.metadata.annotations.as_ref().unwrap()[rs::REVISION];
                writeln!(out, "create revision {revision} with {}", rs::replicas(s))
            }
            Action::Update { set, scaled_from: Some(n) } => {
                writeln!(out, "scale {} {n} -> {}", key::name(&set.metadata), rs::replicas(set))
            }
            Action::Update { set, scaled_from: None } => {
                writeln!(out, "annotate {} {:?}", key::name(&set.metadata), set.metadata.annotations.as_ref().unwrap())
            }
            Action::Delete(name) => writeln!(out, "delete {name}"),
            Action::UpdateStatus(d) => {
                let s = d.status.as_ref().unwrap();
                let conditions = s.conditions.iter().flatten().map(|c| {
                    format!(
                        "{}={} {}: {}",
                        c.type_,
                        c.status,
                        c.reason.as_deref().unwrap(),
                        c.message.as_deref().unwrap()
                    )
                });
                let conditions: Vec<_> = conditions.collect();
                let n = |n: Option<i32>| n.unwrap_or(0);
                let counts = (n(s.replicas), n(s.updated_replicas), n(s.available_replicas), n(s.unavailable_replicas));
                writeln!(out, "status {counts:?} {}", conditions.join("; "))
            }
            Action::Replace(d) => {
                let template = d.spec.as_ref().unwrap().template.metadata.as_ref().unwrap().labels.as_ref().unwrap();
                writeln!(
                    out,
                    "write with template {template:?}, annotated {:?}",
                    d.metadata.annotations.as_ref().unwrap()
                )
            }
            Action::Say { kind, reason, message } => writeln!(out, "say {kind} {reason}: {message}"),
        }
        .unwrap();
    }
    if let Some(wait) = plan.check_again {
        writeln!(out, "again in {} s", wait.as_secs()).unwrap();
    }
    out
}

fn check(d: &Deployment, sets: &[Arc<ReplicaSet>], pods_of: &[&str], want: Expect) {
    want.assert_eq(&print(&plan(d, sets, pods_of)));
}

#[test]
fn a_new_deployment_gets_its_first_set_at_full_size() {
    check(
        &deployment(4, "a", json!({})),
        &[],
        &[],
        expect![[r#"
            create revision 1 with 4
            status (0, 0, 0, 4) Progressing=True NewReplicaSetCreated: Created new replica set "web-78dbf6cfb9"; Available=False MinimumReplicasUnavailable: Deployment does not have minimum availability.
            again in 601 s
        "#]],
    );
}

#[test]
fn a_changed_template_starts_within_the_surge_and_gives_up_what_may_be_missing() {
    check(
        &deployment(
            4,
            "b",
            json!({"status": {"replicas": 4, "updatedReplicas": 4, "readyReplicas": 4, "availableReplicas": 4}}),
        ),
        &[set("web-a", "a", 1, (4, 4, 4), 4)],
        &[],
        expect![[r#"
            create revision 2 with 1
            scale web-a 4 -> 3
            status (4, 0, 4, 0) Progressing=True NewReplicaSetCreated: Created new replica set "web-7c4dd8bc76"; Available=True MinimumReplicasAvailable: Deployment has minimum availability.
            again in 601 s
        "#]],
    );
}

#[test]
fn a_rollout_goes_on_as_new_pods_become_available() {
    check(
        &deployment(4, "b", json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "2"}}})),
        &[set("web-a", "a", 1, (3, 3, 3), 4), set("web-b", "b", 2, (2, 2, 1), 4)],
        &[],
        expect![[r#"
            scale web-a 3 -> 2
            status (5, 2, 4, 0) Available=True MinimumReplicasAvailable: Deployment has minimum availability.; Progressing=True ReplicaSetUpdated: ReplicaSet "web-b" is progressing.
            again in 601 s
        "#]],
    );
}

#[test]
fn broken_old_pods_do_not_block_a_rollout() {
    check(
        &deployment(4, "b", json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "2"}}})),
        &[set("web-a", "a", 1, (4, 4, 0), 4), set("web-b", "b", 2, (1, 1, 0), 4)],
        &[],
        expect![[r#"
            scale web-a 4 -> 3
            status (5, 1, 0, 4) Available=False MinimumReplicasUnavailable: Deployment does not have minimum availability.; Progressing=True ReplicaSetUpdated: ReplicaSet "web-b" is progressing.
            again in 601 s
        "#]],
    );
}

#[test]
fn a_finished_rollout_is_said_and_history_is_cut() {
    let done = json!({
        "status": {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "readyReplicas": 2},
        "metadata": {"annotations": {"deployment.kubernetes.io/revision": "3"}},
    });
    check(
        &deployment(2, "c", done),
        &[set("web-a", "a", 1, (0, 0, 0), 2), set("web-b", "b", 2, (0, 0, 0), 2), set("web-c", "c", 3, (2, 2, 2), 2)],
        &[],
        expect![[r#"
            delete web-a
            status (2, 2, 2, 0) Available=True MinimumReplicasAvailable: Deployment has minimum availability.; Progressing=True NewReplicaSetAvailable: ReplicaSet "web-c" has successfully progressed.
        "#]],
    );
}

#[test]
fn going_back_gives_an_old_set_a_new_revision() {
    check(
        &deployment(2, "a", json!({})),
        &[set("web-a", "a", 1, (0, 0, 0), 2), set("web-b", "b", 2, (2, 2, 2), 2)],
        &[],
        expect![[r#"
            annotate web-a {"deployment.kubernetes.io/desired-replicas": "2", "deployment.kubernetes.io/max-replicas": "3", "deployment.kubernetes.io/revision": "3", "deployment.kubernetes.io/revision-history": "1"}
            scale web-a 0 -> 1
            status (2, 0, 2, 1) Available=True MinimumReplicasAvailable: Deployment has minimum availability.; Progressing=True ReplicaSetUpdated: ReplicaSet "web-a" is progressing.
            again in 601 s
        "#]],
    );
}

#[test]
fn scaling_in_the_middle_of_a_rollout_is_shared_out() {
    check(
        &deployment(10, "b", json!({})),
        &[set("web-a", "a", 1, (4, 4, 4), 5), set("web-b", "b", 2, (2, 2, 0), 5)],
        &[],
        expect![[r#"
            scale web-a 4 -> 9
            scale web-b 2 -> 4
            status (6, 2, 4, 9) Progressing=True FoundNewReplicaSet: Found new replica set "web-b"; Available=False MinimumReplicasUnavailable: Deployment does not have minimum availability.
        "#]],
    );
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    check(
        &deployment(3, "b", json!({"spec": {"paused": true}})),
        &[set("web-a", "a", 1, (2, 2, 2), 2)],
        &[],
        expect![[r#"
            scale web-a 2 -> 3
            status (2, 0, 2, 1) Progressing=Unknown DeploymentPaused: Deployment is paused; Available=False MinimumReplicasUnavailable: Deployment does not have minimum availability.
        "#]],
    );
}

#[test]
fn recreate_waits_for_every_old_pod() {
    let recreate = json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}});
    let d = deployment(2, "b", recreate);
    check(
        &d,
        &[set("web-a", "a", 1, (2, 2, 2), 2)],
        &["web-a"],
        expect![[r#"
        scale web-a 2 -> 0
        status (2, 0, 2, 0) Available=True MinimumReplicasAvailable: Deployment has minimum availability.; Progressing=True ReplicaSetUpdated: Deployment "web" is progressing.
        again in 601 s
    "#]],
    );
    check(
        &d,
        &[set("web-a", "a", 1, (0, 0, 0), 2)],
        &["web-a"],
        expect![[r#"
        status (0, 0, 0, 0) Available=False MinimumReplicasUnavailable: Deployment does not have minimum availability.
    "#]],
    );
    check(
        &d,
        &[set("web-a", "a", 1, (0, 0, 0), 2)],
        &[],
        expect![[r#"
        create revision 2 with 2
        status (0, 0, 0, 2) Progressing=True NewReplicaSetCreated: Created new replica set "web-7c4dd8bc76"; Available=False MinimumReplicasUnavailable: Deployment does not have minimum availability.
        again in 601 s
    "#]],
    );
}

#[test]
fn a_rollout_that_does_not_move_times_out() {
    let stuck = |since: &str| {
        json!({
            "metadata": {"annotations": {"deployment.kubernetes.io/revision": "1"}},
            "status": {
                "observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "unavailableReplicas": 2, "terminatingReplicas": 0,
                "conditions": [
                    {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable",
                     "message": "Deployment does not have minimum availability."},
                    {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "message": "m", "lastUpdateTime": since},
                ],
            },
        })
    };
    let sets = [set("web-a", "a", 1, (2, 2, 0), 2)];
    check(
        &deployment(2, "a", stuck("2026-01-01T11:51:00Z")),
        &sets,
        &[],
        expect![[r#"
        status (2, 2, 0, 2) Available=False MinimumReplicasUnavailable: Deployment does not have minimum availability.; Progressing=True ReplicaSetUpdated: m
        again in 61 s
    "#]],
    );
    check(
        &deployment(2, "a", stuck("2026-01-01T11:49:00Z")),
        &sets,
        &[],
        expect![[r#"
        status (2, 2, 0, 2) Available=False MinimumReplicasUnavailable: Deployment does not have minimum availability.; Progressing=False ProgressDeadlineExceeded: ReplicaSet "web-a" has timed out progressing.
    "#]],
    );
}

#[test]
fn percentages_round_up_for_surge_and_down_for_absence() {
    for (surge, unavailable, replicas, want) in [
        (json!("25%"), json!("25%"), 10, (3, 2)),
        (json!("25%"), json!("25%"), 1, (1, 0)),
        (json!(0), json!("10%"), 3, (0, 1)),
        (json!("100%"), json!(0), 3, (3, 0)),
        (json!(1), json!(5), 3, (1, 3)),
    ] {
        let rolling = json!({"maxSurge": surge, "maxUnavailable": unavailable});
        let d = deployment(replicas, "a", json!({"spec": {"strategy": {"rollingUpdate": rolling}}}));
        assert_eq!((math::max_surge(&d), math::max_unavailable(&d)), want, "{rolling}");
    }
}

#[test]
fn an_unchanged_picture_changes_nothing() {
    let d = deployment(2, "a", json!({}));
    let sets = [set("web-a", "a", 1, (2, 2, 2), 2)];
    let Some(Action::UpdateStatus(settled)) = plan(&d, &sets, &[]).actions.pop() else { panic!("a first status") };
    assert_eq!(print(&plan(&settled, &sets, &[])), "");
}

#[test]
fn an_earlier_template_is_taken_back_and_asked_for_no_more() {
    let asks = |revision: &str| {
        let annotations = json!({"deprecated.deployment.rollback.to": revision, "note": "now", "deployment.kubernetes.io/revision": "3"});
        deployment(4, "c", json!({"metadata": {"annotations": annotations}}))
    };
    let mut sets = [set("a", "a", 1, (0, 0, 0), 4), set("b", "b", 2, (0, 0, 0), 4), set("c", "c", 3, (4, 4, 4), 4)];
    for old in &mut sets {
        let old = Arc::make_mut(old);
        let name = old.metadata.name.clone().unwrap();
        old.metadata.annotations.get_or_insert_default().insert("note".into(), name.clone());
        let template = old.spec.as_mut().unwrap().template.as_mut().unwrap();
        template.metadata.as_mut().unwrap().labels.get_or_insert_default().insert(rs::HASH_LABEL.into(), name);
    }
    let check = |revision: &str, want: Expect| {
        let plan = plan(&asks(revision), &sets, &[]);
        let told: String =
            print(&plan).lines().filter(|l| !l.starts_with("annotate")).map(|l| format!("{l}\n")).collect();
        want.assert_eq(&told);
        let written = plan.actions.iter().find_map(|action| match action {
            Action::Replace(d) => {
                Some(d.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0].image.clone())
            }
            _ => None,
        });
        written.flatten()
    };
    let image = check(
        "0",
        expect![[r#"
        write with template {"app": "web"}, annotated {"deployment.kubernetes.io/revision": "3", "note": "b"}
        say Normal DeploymentRollback: Rolled back deployment "web" to revision 2
    "#]],
    );
    assert_eq!(image.as_deref(), Some("b"), "the last one");
    assert_eq!(
        check(
            "1",
            expect![[r#"
        write with template {"app": "web"}, annotated {"deployment.kubernetes.io/revision": "3", "note": "a"}
        say Normal DeploymentRollback: Rolled back deployment "web" to revision 1
    "#]]
        )
        .as_deref(),
        Some("a")
    );
    assert_eq!(check("3", expect![[r#"
        say Warning DeploymentRollbackTemplateUnchanged: The rollback revision contains the same template as current deployment "web"
        write with template {"app": "web"}, annotated {"deployment.kubernetes.io/revision": "3", "note": "now"}
    "#]]).as_deref(), Some("c"));
    assert_eq!(
        check(
            "9",
            expect![[r#"
        say Warning DeploymentRollbackRevisionNotFound: Unable to find the revision to rollback to.
        write with template {"app": "web"}, annotated {"deployment.kubernetes.io/revision": "3", "note": "now"}
    "#]]
        )
        .as_deref(),
        Some("c")
    );
    assert_eq!(rollback::wanted(&asks("first")), None);
}
