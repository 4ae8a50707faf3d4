//! Sets by table: the pods that are there, what is done about them, and what the status says.

use std::{collections::HashMap, fmt::Write as _, sync::Arc};

use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, StatefulSet},
        core::v1::{PersistentVolumeClaim, Pod},
    },
    jiff::Timestamp,
};
use serde_json::{Value, json};

use super::{
    claims, identity,
    revisions::{self, Update},
    sync::{self, Observed, Plan, Step},
};
use crate::util::history;

const NOW: &str = "2026-01-01T12:00:00Z";

fn set(spec: Value) -> StatefulSet {
    let mut set = json!({
        "metadata": {"name": "web", "namespace": "ns", "uid": "u", "generation": 2},
        "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "serviceName": "svc", "revisionHistoryLimit": 10,
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
            "podManagementPolicy": "OrderedReady",
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        },
    });
    for (name, value) in spec.as_object().unwrap() {
        set["spec"][name] = value.clone();
    }
    serde_json::from_value(set).unwrap()
}

fn partition(n: i32) -> Value {
    json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": n}}})
}

/// `ordinal words`. The words: `ready` (for a minute), `just` (ready since a second), `pending`, `failed`, `succeeded`,
/// `going`, `old` (of the template before), `bare` (without the labels of a member).
fn pod(set: &StatefulSet, text: &str) -> Arc<Pod> {
    let (ordinal, words) = text.split_once(' ').unwrap_or((text, ""));
    let has = |word: &str| words.split(' ').any(|w| w == word);
    let mut pod = identity::new_pod(set, if has("old") { "web-old" } else { "web-new" }, ordinal.parse().unwrap());
    pod.metadata.uid = Some(format!("uid-{ordinal}"));
    if has("bare") {
        pod.metadata.labels.as_mut().unwrap().remove("statefulset.kubernetes.io/pod-name");
    }
    let phase = [("pending", "Pending"), ("failed", "Failed"), ("succeeded", "Succeeded")];
    let phase = phase.into_iter().find(|(word, _)| has(word)).map_or("Running", |(_, phase)| phase);
    let mut status = json!({"phase": phase});
    let since = if has("just") { "2026-01-01T11:59:59Z" } else { "2026-01-01T11:59:00Z" };
    if has("ready") || has("just") {
        status["conditions"] = json!([{"type": "Ready", "status": "True", "lastTransitionTime": since}]);
    }
    pod.status = serde_json::from_value(status).unwrap();
    if has("going") {
        pod.metadata.deletion_timestamp = serde_json::from_value(json!(NOW)).unwrap();
    }
    Arc::new(pod)
}

type Claims = HashMap<String, Arc<PersistentVolumeClaim>>;

fn plan_with(set: &StatefulSet, pods: &[&str], claims: &Claims) -> Plan {
    let pods: Vec<_> = pods.iter().map(|text| pod(set, text)).collect();
    let claim = |name: &str| claims.get(name).cloned();
    sync::plan(&Observed {
        set,
        current: (set, "web-old"),
        update: (set, "web-new"),
        collisions: 1,
        pods: &pods,
        claim: &claim,
        now: NOW.parse::<Timestamp>().unwrap(),
    })
}

/// Phases between bars; steps by sign and name, of new pods their revision too.
fn print(plan: &Plan) -> String {
    let mut out = String::new();
    for (i, phase) in plan.phases.iter().enumerate() {
        out += if i > 0 { "| " } else { "" };
        for step in phase.iter().flatten() {
            let (sign, pod) = match step {
                Step::Create(pod) => ("+", &**pod),
                Step::Delete(pod) => ("-", &**pod),
                Step::EnsureClaims(pod) => ("claims of ", &**pod),
                Step::Mend(pod) => ("mend ", &**pod),
                Step::SettleClaims(pod) => ("settle ", &**pod),
            };
            let old = matches!(step, Step::Create(_)) && identity::revision(pod) == "web-old";
            write!(out, "{sign}{}{} ", pod.metadata.name.as_ref().unwrap(), if old { "(old)" } else { "" }).unwrap();
        }
    }
    if let Some(pod) = &plan.replace {
        write!(out, "replace {}", pod.metadata.name.as_ref().unwrap()).unwrap();
    }
    out.trim_end().to_owned()
}

fn check(spec: Value, pods: &[&str], want: &str) {
    let plan = plan_with(&set(spec.clone()), pods, &Claims::new());
    assert_eq!(print(&plan), want, "{spec} {pods:?}");
}

#[test]
fn in_order_each_pod_waits_for_those_before_it() {
    let none = || json!({});
    check(none(), &[], "+web-0");
    check(none(), &["0"], "");
    check(none(), &["0 pending"], "claims of web-0");
    check(none(), &["0 ready"], "+web-1");
    check(none(), &["0 ready", "1 ready"], "+web-2");
    check(none(), &["0 ready", "1 ready", "2 ready"], "");
    check(none(), &["0 ready", "2 ready"], "+web-1");
    check(none(), &["1 ready", "2 ready"], "+web-0");
    check(none(), &["0 ready going", "1 ready"], "");
    check(json!({"minReadySeconds": 30}), &["0 just"], "");
    check(json!({"minReadySeconds": 30}), &["0 ready"], "+web-1");
    check(json!({"replicas": 0}), &[], "");
    check(json!({"ordinals": {"start": 4}}), &[], "+web-4");
    check(json!({"ordinals": {"start": 4}}), &["4 ready"], "+web-5");
}

#[test]
fn a_pod_that_ended_is_made_anew_however_it_ended() {
    let none = || json!({});
    check(none(), &["0 failed", "1 ready"], "-web-0");
    check(none(), &["0 succeeded"], "-web-0");
    check(none(), &["0 failed going"], "");
    check(json!({"podManagementPolicy": "Parallel"}), &["0 failed", "1 failed going"], "-web-0 +web-2");
}

#[test]
fn in_parallel_nothing_waits() {
    let parallel = |replicas: i32| json!({"podManagementPolicy": "Parallel", "replicas": replicas});
    check(parallel(3), &[], "+web-0 +web-1 +web-2");
    check(parallel(3), &["1 pending"], "+web-0 claims of web-1 +web-2");
    check(parallel(1), &["0", "1", "2 going", "3"], "-web-3 -web-1");
    let plan = plan_with(&set(parallel(i32::MAX)), &[], &Claims::new());
    assert_eq!(plan.phases[0].len(), 500, "the rest comes with the next pass");
}

#[test]
fn in_order_the_highest_ordinal_goes_first() {
    let one = || json!({"replicas": 1});
    check(one(), &["0 ready", "1 ready", "2 ready"], "-web-2");
    check(one(), &["0 ready", "1 ready", "2 going"], "");
    check(one(), &["0", "1 ready", "2 ready"], "");
    // A pod that is not healthy goes if no other is in its way.
    check(one(), &["0 ready", "1 ready", "2"], "-web-2");
    check(one(), &["0 ready", "1", "2 ready"], "-web-2");
    check(one(), &["0 ready", "1", "2"], "");
    check(json!({"replicas": 0}), &["0 ready", "1 ready"], "-web-1");
    check(json!({"replicas": 2, "ordinals": {"start": 2}}), &["0 ready", "2 ready", "3 ready", "5 ready"], "-web-5");
    check(json!({"replicas": 2, "ordinals": {"start": 2}}), &["1 ready", "2 ready", "3 ready"], "-web-1");
    // Scaling comes before updating.
    check(one(), &["0 old ready", "1 ready"], "-web-1");
}

#[test]
fn updates_go_from_the_highest_ordinal_down_one_at_a_time() {
    let none = || json!({});
    check(none(), &["0 old ready", "1 old ready", "2 old ready"], "replace web-2");
    check(none(), &["0 old ready", "1 old ready", "2 ready"], "replace web-1");
    check(none(), &["0 old ready", "1 ready", "2 ready"], "replace web-0");
    // In order an unhealthy pod stops everything; in parallel only what is above is waited for.
    check(none(), &["0 old ready", "1 old ready", "2"], "");
    let mut parallel = json!({"podManagementPolicy": "Parallel"});
    check(parallel.clone(), &["0 old ready", "1 old ready", "2"], "");
    check(parallel.clone(), &["0 old ready", "1 old", "2 ready"], "replace web-1");
    check(parallel.clone(), &["0 old ready", "1 old going", "2 ready"], "");
    parallel["minReadySeconds"] = json!(30);
    check(parallel.clone(), &["0 old ready", "1 old ready", "2 just"], "");
    check(partition(2), &["0 old ready", "1 old ready", "2 old ready"], "replace web-2");
    check(partition(2), &["0 old ready", "1 old ready", "2 ready"], "");
    check(partition(3), &["0 old ready", "1 old ready", "2 old ready"], "");
    check(json!({"updateStrategy": {"type": "OnDelete"}}), &["0 old ready", "1 old ready", "2 old ready"], "");
    // A feature of upstream's that is off by default.
    let mut two = partition(0);
    two["updateStrategy"]["rollingUpdate"]["maxUnavailable"] = json!(2);
    check(two, &["0 old ready", "1 old ready", "2 old ready"], "replace web-2");
}

#[test]
fn below_the_partition_pods_are_made_of_the_template_before() {
    check(partition(1), &[], "+web-0(old)");
    check(partition(1), &["0 old ready"], "+web-1");
    let mut later = partition(1);
    later["ordinals"] = json!({"start": 5});
    check(later.clone(), &[], "+web-5(old)");
    check(later, &["5 old ready"], "+web-6");
    check(json!({"updateStrategy": {"type": "OnDelete"}}), &[], "+web-0");
    // Without numbers of a rolling update the status says how many are left of the template before.
    let mut set = set(json!({"updateStrategy": {"type": "RollingUpdate"}}));
    set.status = serde_json::from_value(json!({"replicas": 1, "currentReplicas": 1})).unwrap();
    assert_eq!(print(&plan_with(&set, &[], &Claims::new())), "+web-0(old)");
    assert_eq!(print(&plan_with(&set, &["0 old ready"], &Claims::new())), "+web-1");
}

#[test]
fn members_are_mended() {
    check(json!({}), &["0 ready bare", "1 ready"], "mend web-0 +web-2");
    check(json!({}), &["0 bare"], "");
    check(json!({"podManagementPolicy": "Parallel"}), &["0 pending bare", "1", "2"], "claims of web-0 mend web-0");
}

#[test]
fn a_set_that_goes_is_only_counted() {
    let mut set = set(json!({}));
    set.metadata.deletion_timestamp = serde_json::from_value(json!(NOW)).unwrap();
    let plan = plan_with(&set, &["0 ready", "7"], &Claims::new());
    assert_eq!((print(&plan).as_str(), plan.status.replicas), ("", 2));
}

#[test]
fn the_status_counts_pods_and_completes_an_update() {
    let counts = |spec: Value, pods: &[&str]| {
        let set = set(spec);
        let mut status = plan_with(&set, pods, &Claims::new()).status;
        sync::complete(&set, &mut status);
        let numbers =
            [status.ready_replicas, status.available_replicas, status.current_replicas, status.updated_replicas];
        (status.replicas, numbers.map(Option::unwrap), status.current_revision.unwrap())
    };
    let mut spec = json!({"minReadySeconds": 30});
    let pods = ["0 ready", "1 just old", "2 ready going", "3 old"];
    assert_eq!(counts(spec.clone(), &pods), (4, [3, 2, 2, 1], "web-old".into()));
    spec["replicas"] = json!(2);
    assert_eq!(counts(spec.clone(), &["0 ready", "1 just"]), (2, [2, 1, 2, 2], "web-new".into()));
    assert_eq!(counts(spec.clone(), &["0 ready", "1"]), (2, [1, 1, 0, 2], "web-old".into()));
    spec["updateStrategy"] = json!({"type": "OnDelete"});
    assert_eq!(counts(spec, &["0 ready", "1 ready"]), (2, [2, 2, 0, 2], "web-old".into()));
}

#[test]
fn a_status_is_written_when_it_says_something_new() {
    let mut set = set(json!({}));
    let status = plan_with(&set, &["0 ready"], &Claims::new()).status;
    assert!(sync::differs(&set, &status));
    set.status = Some(status.clone());
    assert!(!sync::differs(&set, &status));
    set.status.as_mut().unwrap().observed_generation = Some(1);
    assert!(sync::differs(&set, &status));
}

fn claimed(when_scaled: &str, when_deleted: &str) -> StatefulSet {
    set(json!({
        "replicas": 1, "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
        "persistentVolumeClaimRetentionPolicy": {"whenScaled": when_scaled, "whenDeleted": when_deleted},
    }))
}

/// References by kind and name, with another UID after a bar, and a star for a controller: `StatefulSet web*`.
fn claim(owners: &[&str]) -> PersistentVolumeClaim {
    let reference = |text: &&str| {
        let controller = text.ends_with('*');
        let (text, uid) = text.trim_end_matches('*').split_once('|').unwrap_or((text.trim_end_matches('*'), ""));
        let (kind, name) = text.split_once(' ').unwrap();
        let version = if kind == "StatefulSet" { "apps/v1" } else { "v1" };
        let own = if kind == "StatefulSet" { "u".to_owned() } else { name.replace("web", "uid") };
        let uid = if uid.is_empty() { &own } else { uid };
        json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": controller})
    };
    let owners: Vec<_> = owners.iter().map(reference).collect();
    serde_json::from_value(json!({"metadata": {"name": "data-web-0", "ownerReferences": owners}})).unwrap()
}

#[test]
fn claims_belong_to_the_set_or_to_the_pod_that_is_scaled_away() {
    let (own, gone) = ("StatefulSet web*", "Pod web-1*");
    for (scaled, deleted, kept_by, condemned_by) in [
        ("Retain", "Retain", None, None),
        ("Retain", "Delete", Some(own), Some(own)),
        ("Delete", "Retain", None, Some(gone)),
        ("Delete", "Delete", Some(own), Some(gone)),
    ] {
        let set = claimed(scaled, deleted);
        for (ordinal, want) in [("0", kept_by), ("1", condemned_by)] {
            let pod = pod(&set, ordinal);
            let mut claim = claim(&["ConfigMap x", &format!("Pod web-{ordinal}"), "StatefulSet web"]);
            assert!(!claims::owners_match(&claim, &set, &pod), "owners that do not control");
            claims::update_owners(&mut claim, &set, &pod);
            let owners = claim.metadata.owner_references.clone().unwrap();
            let owners: Vec<_> = owners[1..].iter().map(|o| format!("{} {}*", o.kind, o.name)).collect();
            assert_eq!(owners, Vec::from_iter(want), "{scaled} {deleted} {ordinal}");
            assert!(claims::owners_match(&claim, &set, &pod), "{scaled} {deleted} {ordinal}");
        }
    }
}

#[test]
fn claims_of_others_are_left_alone() {
    let (set, retained) = (claimed("Delete", "Delete"), claimed("Retain", "Retain"));
    let pod = pod(&set, "0");
    for (owners, matches, other) in [
        (&["ConfigMap x*"][..], true, true),
        (&["ConfigMap x*", "StatefulSet web*"], false, true),
        (&["StatefulSet web|older*"], true, true),
        (&["Pod web-0|older*", "StatefulSet web*"], true, true),
        (&["StatefulSet web*"], true, false),
    ] {
        let mut claim = claim(owners);
        let got = (claims::owners_match(&claim, &set, &pod), claims::has_other_controller(&claim, &set, &pod));
        assert_eq!(got, (matches, other), "{owners:?}");
        assert!(!claims::has_other_controller(&claim, &retained, &pod), "who keeps claims minds nobody");
        if owners.len() == 2 && !matches {
            claims::update_owners(&mut claim, &set, &pod);
            assert_eq!(claim.metadata.owner_references.unwrap().len(), 1, "the other's stays alone");
        }
    }
}

#[test]
fn a_pod_waits_for_the_claims_that_go_with_the_one_before() {
    let there = |owners: &[&str]| Claims::from([("data-web-0".to_owned(), Arc::new(claim(owners)))]);
    for (set, owners, want) in [
        (claimed("Delete", "Retain"), &["Pod web-0|older*"][..], ""),
        (claimed("Retain", "Retain"), &["Pod web-0|older*"], "+web-0"),
        (claimed("Delete", "Retain"), &["ConfigMap x*"], "+web-0"),
    ] {
        let plan = plan_with(&set, &[], &there(owners));
        assert_eq!((print(&plan).as_str(), plan.blocked), (want, want.is_empty()), "{owners:?}");
    }
    // Of a healthy pod the claims' owners are brought up to date, and of one that is scaled away before it goes.
    let set = claimed("Delete", "Delete");
    assert_eq!(print(&plan_with(&set, &["0 ready"], &there(&[]))), "mend web-0");
    assert_eq!(print(&plan_with(&set, &["0 ready"], &there(&["StatefulSet web*"]))), "");
    let of_second = Claims::from([("data-web-1".to_owned(), Arc::new(claim(&[])))]);
    assert_eq!(print(&plan_with(&set, &["0 ready", "1 ready"], &of_second)), "settle web-1 | -web-1");
}

#[test]
fn claims_have_the_labels_of_the_selector() {
    let mut set = claimed("Retain", "Retain");
    let templates =
        json!([{"metadata": {"name": "data", "labels": {"app": "db", "tier": "x"}}}, {"metadata": {"name": "logs"}}]);
    set.spec.as_mut().unwrap().volume_claim_templates = serde_json::from_value(templates).unwrap();
    let wanted: Vec<_> =
        claims::wanted(&set, 2).into_iter().map(|c| (c.metadata.name.unwrap(), c.metadata.labels.unwrap())).collect();
    let labels = |of: &[(&str, &str)]| of.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let expected =
        [("data-web-2", labels(&[("app", "web"), ("tier", "x")])), ("logs-web-2", labels(&[("app", "web")]))];
    assert_eq!(wanted, expected.map(|(name, labels)| (name.to_owned(), labels)));
}

fn revision(number: i64, data: Value) -> Arc<ControllerRevision> {
    let meta = json!({"name": format!("web-{number}")});
    Arc::new(serde_json::from_value(json!({"metadata": meta, "data": data, "revision": number})).unwrap())
}

#[test]
fn a_template_is_known_again() {
    let of_image = |image: &str| {
        let template = json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "containers": [{
                    "name": "c", "image": image, "imagePullPolicy": "Always", "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File",
                }],
                "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
                "securityContext": {}, "schedulerName": "default-scheduler",
            },
        });
        serde_json::from_value(template).unwrap()
    };
    let mut set = set(json!({}));
    set.spec.as_mut().unwrap().template = of_image("b");
    let [a, b] = ["a", "b"].map(|image| history::data(&of_image(image)));
    let (first, second) = (revision(1, a.clone()), revision(2, b.clone()));
    let Update::Create(new) = revisions::update(&set, &[]) else { panic!("there is none yet") };
    assert_eq!((new.revision, history::data_of(&new)), (1, &b));
    let Update::Create(new) = revisions::update(&set, std::slice::from_ref(&first)) else { panic!("it is another") };
    assert_eq!(new.revision, 2);
    assert_eq!(revisions::update(&set, &[first.clone(), second.clone()]), Update::Newest(second.clone()));
    // Rolled back to.
    let third = revision(3, a.clone());
    assert_eq!(revisions::update(&set, &[first, second.clone(), third]), Update::Renumber(second, 4));
    // Written by a version of upstream that wrote more, or defaulted less.
    let mut older = b.clone();
    older["spec"]["template"]["metadata"]["creationTimestamp"] = Value::Null;
    older["spec"]["template"]["spec"].as_object_mut().unwrap().remove("dnsPolicy");
    let older = revision(1, older);
    assert_eq!(revisions::update(&set, std::slice::from_ref(&older)), Update::Newest(older.clone()));
    assert!(
        matches!(revisions::update(&set, &[older, revision(2, a)]), Update::Create(_)),
        "only the newest counts so"
    );
}

#[test]
fn history_is_cut_but_for_what_is_live() {
    let mut set = set(json!({"revisionHistoryLimit": 1}));
    let all: Vec<_> = (1..=5).map(|n| revision(n, json!({}))).collect();
    let mut of_first = (*pod(&set, "0")).clone();
    of_first.metadata.labels.as_mut().unwrap().insert("controller-revision-hash".into(), "web-1".into());
    let pods = [Arc::new(of_first)];
    let names = |of: Vec<Arc<ControllerRevision>>| of.iter().map(|r| r.revision).collect::<Vec<_>>();
    assert_eq!(names(revisions::surplus(&set, &all, &["web-4", "web-5"], &pods)), [2]);
    assert_eq!(names(revisions::surplus(&set, &all, &["web-5", "web-5"], &[])), [1, 2, 3]);
    set.spec.as_mut().unwrap().revision_history_limit = Some(-1);
    assert!(revisions::surplus(&set, &all, &[], &[]).is_empty());
}
