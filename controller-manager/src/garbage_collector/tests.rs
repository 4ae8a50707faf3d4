//! The garbage collector's graph and what it decides, event by event.

use serde_json::json;

use super::*;

fn item(name: &str, owners: &[&str], finalizers: &[&str], deleting: bool) -> (Identity, Meta) {
    let owners: Vec<_> = owners
        .iter()
        .map(|o| json!({"apiVersion": "v1", "kind": "K", "name": o, "uid": o, "blockOwnerDeletion": true, "controller": true}))
        .collect();
    let mut meta =
        json!({"name": name, "namespace": "ns", "uid": name, "ownerReferences": owners, "finalizers": finalizers});
    if deleting {
        meta["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    let identity = Identity {
        api_version: "v1".into(),
        kind: "K".into(),
        namespace: "ns".into(),
        name: name.into(),
        uid: name.into(),
    };
    (identity, serde_json::from_value(meta).unwrap())
}

fn apply(g: &mut Graph, name: &str, owners: &[&str], finalizers: &[&str], deleting: bool) -> Vec<Work> {
    let (identity, meta) = item(name, owners, finalizers, deleting);
    g.apply(0, identity, &meta)
}

fn u(name: &str) -> Uid {
    Uid::new(name)
}

#[test]
fn background_a_deleted_owner_makes_its_dependents_suspect() {
    let mut g = Graph::default();
    assert_eq!(apply(&mut g, "owner", &[], &[], false), []);
    assert!(g.get(u("owner")).is_none(), "nobody needs it yet");
    assert_eq!(apply(&mut g, "a", &["owner"], &[], false), []);
    assert_eq!(apply(&mut g, "b", &["owner"], &[], false), []);
    let mut work = g.delete(u("owner"));
    work.sort_by_key(|w| format!("{w:?}"));
    let mut want = [Work::Delete(u("a")), Work::Delete(u("b"))];
    want.sort_by_key(|w| format!("{w:?}"));
    assert_eq!(work, want);
    let (_, meta) = item("a", &["owner"], &[], false);
    assert!(g.is_absent(&meta.owner_references[0], "ns"));
}

#[test]
fn an_owner_known_by_reference_only_is_verified() {
    let mut g = Graph::default();
    assert_eq!(apply(&mut g, "a", &["owner"], &[], false), [Work::Delete(u("owner"))]);
    assert!(g.get(u("owner")).unwrap().is_virtual);
    assert_eq!(apply(&mut g, "owner", &[], &[], false), []);
    assert!(!g.get(u("owner")).unwrap().is_virtual);
}

#[test]
fn an_owner_in_another_namespace_owns_nothing_and_that_is_told() {
    let elsewhere = |g: &mut Graph| {
        let (mut identity, meta) = item("owner", &[], &[], false);
        identity.namespace = "other".into();
        g.apply(0, identity, &meta)
    };
    let told = [Work::Misplaced { dependent: u("a"), owner: u("owner") }, Work::Delete(u("a"))];
    // The owner was seen before, and nobody needed it; or it is seen later.
    let mut g = Graph::default();
    assert_eq!(elsewhere(&mut g), []);
    assert_eq!(apply(&mut g, "a", &["owner"], &[], false), told);
    let mut g = Graph::default();
    assert_eq!(apply(&mut g, "a", &["owner"], &[], false), [Work::Delete(u("owner"))]);
    assert_eq!(elsewhere(&mut g), told);
}

#[test]
fn foreground_the_owner_waits_for_those_that_block_it() {
    let mut g = Graph::default();
    apply(&mut g, "owner", &[], &[], false);
    apply(&mut g, "a", &["owner"], &[], false);
    let work = apply(&mut g, "owner", &[], &[FOREGROUND], true);
    assert_eq!(work, [Work::Delete(u("a")), Work::Delete(u("owner"))]);
    assert_eq!(g.blocking(u("owner")).len(), 1);
    assert_eq!(g.delete(u("a")), [Work::Delete(u("owner"))]);
    assert!(g.blocking(u("owner")).is_empty());
}

#[test]
fn orphaning_is_asked_for_once() {
    let mut g = Graph::default();
    apply(&mut g, "owner", &[], &[], false);
    apply(&mut g, "a", &["owner"], &[], false);
    assert_eq!(apply(&mut g, "owner", &[], &[ORPHAN], true), [Work::Orphan(u("owner"))]);
    assert_eq!(apply(&mut g, "a", &[], &[], false), [Work::Delete(u("owner"))], "it blocked its owner");
    assert!(g.get(u("owner")).unwrap().dependents.is_empty());
}

#[test]
fn a_new_list_shows_what_went_unnoticed() {
    let mut g = Graph::default();
    apply(&mut g, "owner", &[], &[], false);
    apply(&mut g, "a", &["owner"], &[], false);
    assert_eq!(g.retain(0, &HashSet::from([u("a")])), [Work::Delete(u("a"))]);
    assert_eq!(g.retain(1, &HashSet::new()), [], "another kind's");
}
