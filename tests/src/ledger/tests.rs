//! The ledger finds what it is there to find: each rule, broken.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Budget, Ledger, Pod, Run, Seen, Step};

/// Writes to pods, a line each: `uid name node revision flags`, flags being `r`eady, `t`erminating, trac`k`ed, `x` for gone.
/// Revisions count from 1; an index is in the name of an indexed job's pod.
fn ledger(lines: &[&str]) -> Ledger {
    let mut ledger = Ledger::default();
    for (at, line) in lines.iter().enumerate() {
        let words: Vec<&str> = line.split(' ').collect();
        let [uid, name, node, revision, flags] = words.as_slice() else { panic!("{line}") };
        let has = |flag| flags.contains(flag);
        let pod = Pod {
            uid: (*uid).to_owned(),
            name: (*name).to_owned(),
            owner: "owner".to_owned(),
            node: node.replace('-', ""),
            revision: (*revision).to_owned(),
            index: name.strip_prefix("i").and_then(|index| index.parse().ok()),
            phase: String::new(),
            ready: has('r'),
            terminating: has('t'),
            tracked: has('k'),
        };
        ledger.see(Seen { revision: at as i64 + 1, gone: has('x'), pod });
    }
    ledger
}

fn check(faults: &[String], wanted: &[&str]) {
    assert_eq!(faults.len(), wanted.len(), "{faults:#?}");
    for (fault, wanted) in faults.iter().zip(wanted) {
        assert!(fault.contains(wanted), "{fault:?} does not say {wanted:?}");
    }
}

#[test]
fn a_pod_is_read_from_its_object() {
    let object = json!({
        "metadata": {"uid": "u", "name": "n", "deletionTimestamp": "2026-01-01T00:00:00Z",
            "finalizers": ["batch.kubernetes.io/job-tracking"],
            "labels": {"controller-revision-hash": "h", "batch.kubernetes.io/job-completion-index": "7"},
            "ownerReferences": [{"uid": "other"}, {"uid": "o", "controller": true}]},
        "spec": {"nodeName": "node"},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    let text = str::to_owned;
    let pod = Pod {
        uid: text("u"),
        name: text("n"),
        owner: text("o"),
        node: text("node"),
        revision: text("h"),
        index: Some(7),
        phase: text("Running"),
        ready: true,
        terminating: true,
        tracked: true,
    };
    assert_eq!(Pod::of(&object), pod);
}

#[test]
fn a_write_says_what_was_done() {
    let mut steps = Ledger::default();
    let lines = ["u a - r k", "u a n r k", "u a n r kr", "u a n r r", "u a n r rt", "u a n r rtx"];
    let seen = ledger(&lines).seen;
    let done: Vec<Step> = seen.into_iter().map(|seen| steps.see(seen)).collect();
    assert_eq!(done, [Step::Made, Step::Bound, Step::Other, Step::Released, Step::Deleting, Step::Gone]);
}

#[test]
fn two_of_one_name_never_run_at_once() {
    let began = |uid: &str| Run::Began(uid.to_owned(), "a".to_owned());
    let ended = |uid: &str| Run::Ended(uid.to_owned(), false);
    let of = |runs: &[Run]| {
        let mut ledger = ledger(&["u a n r r", "u a n r tx", "v a n r r"]);
        runs.iter().for_each(|run| ledger.ran(run.clone()));
        ledger.identities()
    };
    check(&of(&[began("u"), ended("u"), began("v")]), &[]);
    check(&of(&[began("u"), began("v"), ended("u")]), &["a began as v while u ran"]);
    check(&of(&[began("u"), ended("u"), began("u"), ended("u")]), &["a ran twice as u"]);
    check(&of(&[began("u")]), &["a (u) is gone, and its kubelet still runs it"]);
    check(&of(&[began("w"), ended("w")]), &["a (w) ran, and no watch has shown it"]);
}

#[test]
fn each_index_of_a_job_succeeds_once() {
    let job = |succeeded: u32, indexes: &str| {
        json!({"metadata": {"uid": "owner"}, "spec": {"completionMode": "Indexed"},
            "status": {"succeeded": succeeded, "completedIndexes": indexes}})
    };
    let of = |lines: &[&str], completed: &[&str], job: &serde_json::Value| {
        let mut ledger = ledger(lines);
        completed.iter().for_each(|uid| ledger.ran(Run::Ended((*uid).to_owned(), true)));
        ledger.job_faults(job, 2)
    };
    let lines = ["u i0 n r k", "v i1 n r k", "u i0 n r -", "v i1 n r -"];
    check(&of(&lines, &["u", "v"], &job(2, "0-1")), &[]);
    check(&of(&lines, &["u", "v"], &job(1, "0")), &["completed indexes are", "1 are counted"]);
    check(&of(&lines, &["u"], &job(2, "0-1")), &["indexes [1] have never succeeded", "1 pods have completed"]);
    let twice = [&lines[..], &["w i1 n r -"]].concat();
    check(&of(&twice, &["u", "v", "w"], &job(2, "0-1")), &["index Some(1) has succeeded 2 times", "3 pods have"]);
    let kept = ["u i0 n r k", "v i1 n r k", "u i0 n r -"];
    check(&of(&kept, &["u", "v"], &job(2, "0-1")), &["i1 is kept"]);
    let lost = ["u i0 n r k", "v i1 n r k", "u i0 n r -", "v i1 n r kx"];
    check(&of(&lost, &["u", "v"], &job(2, "0-1")), &["i1 went before it was counted"]);
    let mut uncounted = job(2, "0-1");
    uncounted["status"]["uncountedTerminatedPods"] = json!({"failed": ["w"]});
    uncounted["status"]["failed"] = json!(1);
    check(&of(&lines, &["u", "v"], &uncounted), &["1 failures are counted", "still to be counted"]);
}

#[test]
fn a_set_goes_in_order() {
    let of = |lines: &[&str]| ledger(lines).stateful_faults("owner", 3, i64::MAX);
    let made = ["a s-0 n 1 -", "a s-0 n 1 r", "b s-1 n 1 -", "b s-1 n 1 r", "c s-2 n 1 -", "c s-2 n 1 r"];
    check(&of(&made), &[]);
    check(&of(&["a s-0 n 1 -", "b s-1 n 1 -"]), &["s-1 was made when [0] did not serve"]);
    check(&of(&["a s-3 n 1 -"]), &["s-3 is none of its pods"]);
    let then = |lines: &[&str]| of(&[&made[..], lines].concat());
    let rolled = ["c s-2 n 1 rt", "c s-2 n 1 tx", "C s-2 n 2 -", "C s-2 n 2 r", "b s-1 n 1 rt"];
    check(&then(&rolled), &[]);
    // A second template before all are of the first.
    let again = ["b s-1 n 1 tx", "B s-1 n 3 r", "C s-2 n 2 rt", "C s-2 n 2 tx", "D s-2 n 3 r", "a s-0 n 1 rt"];
    check(&then(&[&rolled[..], &again[..]].concat()), &[]);
    check(&then(&["b s-1 n 1 rt"]), &["s-1 of 1 was deleted before"]);
    check(&then(&["c s-2 n 1 rt", "b s-1 n 1 rt"]), &["s-1 was deleted when [2] did not", "before"]);
    check(&then(&["c s-2 n 1 rt", "C s-2 n 2 -"]), &["s-2 was made while c was there"]);
    check(&then(&["c s-2 n 1 rx"]), &["s-2 went without"]);
    assert_eq!(ledger(&[&made[..], &["b s-1 n 1 rt"]].concat()).stateful_faults("owner", 3, 6), [""; 0]);
}

#[test]
fn a_roll_keeps_its_budget() {
    let nodes: BTreeSet<String> = ["m".to_owned(), "n".to_owned()].into();
    let of = |lines: &[&str], unavailable, surge| {
        ledger(lines).daemon_faults("owner", &nodes, Budget { unavailable, surge }, 3, i64::MAX)
    };
    let made = ["a a m 1 r", "b b n 1 -", "b b n 1 r"];
    check(&of(&made, 0, 0), &[]);
    let then = |lines: &[&str], unavailable, surge| of(&[&made[..], lines].concat(), unavailable, surge);
    check(&then(&["a a m 1 rt", "a a m 1 tx", "c c m 2 r", "b b n 1 rt"], 1, 0), &[]);
    check(&then(&["a a m 1 rt", "b b n 1 rt"], 1, 0), &["without a pod"]);
    check(&then(&["c c m 2 -", "c c m 2 r", "a a m 1 rt"], 0, 1), &[]);
    check(&then(&["c c m 2 -", "d d n 2 -"], 0, 1), &["too many pods"]);
    check(&then(&["a a m 1 rt"], 0, 1), &["without a pod"]);

    let end = |lines: &[&str]| ledger(lines).daemon_end_faults("owner", &nodes, "1");
    check(&end(&["a a m 2 r", "b b n 2 r"]), &[]);
    check(&end(&["a a m 2 r"]), &["n ends with []"]);
    check(&end(&["a a m 2 r", "b b n 1 r"]), &["n ends with", "pods of"]);
    check(&end(&["a a m 2 r", "b b n 2 r", "c c n 2 r"]), &["n ends with"]);
    check(&end(&["a a m 2 r", "b b n 2 rt"]), &["n ends with"]);
}
