//! Ownership: which objects a controller may call its own.
//!
//! An object belongs to the controller that its controller reference names. A controller takes up orphans that its
//! selector matches and lets go of its own that it no longer matches (upstream's `controller_ref_manager.go`). Before
//! it takes anything it reads itself from the server: a controller that is being deleted must adopt nothing.

use std::{future::Future, sync::Arc};

use client::Informer;
use controller::controller_of;
use k8s_openapi::{
    NamespaceResourceScope,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{
    key::{self, Key},
    selector::Selector,
};

/// What to do about each candidate.
#[derive(Debug, PartialEq)]
pub(crate) struct Claim<K> {
    pub(crate) mine: Vec<Arc<K>>,
    pub(crate) adopt: Vec<Arc<K>>,
    pub(crate) release: Vec<Arc<K>>,
}

/// The object that an owner reference of something in `namespace` names, and its key; nothing if it is of another kind or
/// another one has its name now.
pub(crate) fn resolve<K: Resource<DynamicType = ()>>(
    informer: &Informer<K>,
    namespace: Option<&str>,
    owner: &OwnerReference,
) -> Option<(Key, Arc<K>)> {
    if owner.kind != K::kind(&()) {
        return None;
    }
    let found = informer.get(namespace, &owner.name)?;
    (found.meta().uid.as_ref() == Some(&owner.uid)).then(|| (Key::of(found.meta()), found))
}

/// Those that an orphan interests: whose selector matches it. A selector that is empty or invalid matches nothing.
pub(crate) fn selecting<K: Resource>(
    informer: &Informer<K>,
    orphan: &ObjectMeta,
    selector: impl Fn(&K) -> Option<Selector>,
) -> Vec<Key> {
    let selects = |k: &K| selector(k).is_some_and(|s| !s.is_empty() && s.matches(orphan.labels.as_ref()));
    let all = informer.list_namespace(key::namespace(orphan));
    all.iter().filter(|k| selects(k)).map(|k| Key::of(k.meta())).collect()
}

/// What a controller may have or take: what it controls, and what nobody does.
pub(crate) fn candidates<K: Resource>(informer: &Informer<K>, owner: &ObjectMeta) -> Vec<Arc<K>> {
    let mut candidates = informer.controlled_by(key::namespace(owner), key::uid(owner));
    candidates.extend(informer.uncontrolled(key::namespace(owner)));
    candidates
}

/// Sorts `candidates` into those that `owner` has, should take, and should let go.
pub(crate) fn claim<K: Resource>(owner: &ObjectMeta, selector: &Selector, candidates: Vec<Arc<K>>) -> Claim<K> {
    claim_where(owner, |k| selector.matches(k.meta().labels.as_ref()), candidates)
}

/// As [`claim`], where more than the labels may decide whether an object belongs to `owner`.
pub(crate) fn claim_where<K: Resource>(
    owner: &ObjectMeta,
    belongs: impl Fn(&K) -> bool,
    candidates: Vec<Arc<K>>,
) -> Claim<K> {
    let mut claim = Claim { mine: vec![], adopt: vec![], release: vec![] };
    let deleting = owner.deletion_timestamp.is_some();
    for k in candidates {
        let meta = k.meta();
        let matches = belongs(&k);
        match controller_of(meta) {
            Some(c) if Some(&c.uid) != owner.uid.as_ref() => {}
            Some(_) if matches => claim.mine.push(k),
            Some(_) if !deleting => claim.release.push(k),
            None if matches && !deleting && meta.deletion_timestamp.is_none() => claim.adopt.push(k),
            _ => {}
        }
    }
    claim
}

/// Carries out a claim and returns what is owned after it. `fresh` reads the owner from the server.
pub(crate) async fn carry_out<K, F, Fut>(
    client: &Client,
    reference: &OwnerReference,
    claim: Claim<K>,
    fresh: F,
) -> anyhow::Result<Vec<Arc<K>>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    F: FnOnce() -> Fut,
    Fut: Future<Output = anyhow::Result<ObjectMeta>>,
{
    carry_out_with(client, reference, &[], claim, fresh).await
}

/// The same, where what is owned has `finalizers`: they come and go with the owner.
pub(crate) async fn carry_out_with<K, F, Fut>(
    client: &Client,
    reference: &OwnerReference,
    finalizers: &[&str],
    claim: Claim<K>,
    fresh: F,
) -> anyhow::Result<Vec<Arc<K>>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    F: FnOnce() -> Fut,
    Fut: Future<Output = anyhow::Result<ObjectMeta>>,
{
    let mut mine = claim.mine;
    if !claim.adopt.is_empty() {
        let owner = fresh().await?;
        let (kind, name) = (&reference.kind, &reference.name);
        if owner.uid.as_ref() != Some(&reference.uid) {
            anyhow::bail!("original {kind} {name} is gone: got uid {}, wanted {}", key::uid(&owner), reference.uid);
        }
        if let Some(at) = owner.deletion_timestamp {
            anyhow::bail!("can't adopt: {kind} {name} has just been deleted at {}", at.0);
        }
    }
    for k in claim.adopt {
        let mut patch = json!({"metadata": {"ownerReferences": [reference], "uid": k.meta().uid}});
        if !finalizers.is_empty() {
            patch["metadata"]["finalizers"] = json!(finalizers);
        }
        match patch_meta(client, &*k, patch).await {
            Ok(adopted) => mine.push(Arc::new(adopted)),
            Err(e) if client::is_not_found(&e) => {}
            Err(e) => return Err(e.into()),
        }
    }
    for k in claim.release {
        let gone = json!({"$patch": "delete", "uid": reference.uid});
        let mut patch = json!({"metadata": {"ownerReferences": [gone], "uid": k.meta().uid}});
        if !finalizers.is_empty() {
            patch["metadata"]["$deleteFromPrimitiveList/finalizers"] = json!(finalizers);
        }
        match patch_meta(client, &*k, patch).await {
            Err(e) if !client::is_not_found(&e) && !client::is_invalid(&e) => return Err(e.into()),
            _ => {}
        }
    }
    Ok(mine)
}

async fn patch_meta<K>(client: &Client, k: &K, patch: serde_json::Value) -> kube::Result<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), key::namespace(k.meta()));
    api.patch(key::name(k.meta()), &PatchParams::default(), &Patch::Strategic(patch)).await
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::*;

    fn pod(name: &str, owner: Option<&str>, label: &str, deleting: bool) -> Arc<Pod> {
        let owners: Vec<_> = owner
            .iter()
            .map(|o| json!({"apiVersion": "v1", "kind": "K", "name": "n", "uid": o, "controller": true}))
            .collect();
        let mut meta = json!({"name": name, "labels": {"app": label}, "ownerReferences": owners});
        if deleting {
            meta["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Arc::new(serde_json::from_value(json!({"metadata": meta})).unwrap())
    }

    #[test]
    fn orphans_are_taken_strangers_are_left_and_strays_are_let_go() {
        let selector = Selector::of_labels([("app".to_owned(), "web".to_owned())].into());
        let pods = || {
            vec![
                pod("mine", Some("me"), "web", false),
                pod("mine-dying", Some("me"), "web", true),
                pod("stray", Some("me"), "db", false),
                pod("orphan", None, "web", false),
                pod("orphan-dying", None, "web", true),
                pod("orphan-other", None, "db", false),
                pod("stranger", Some("other"), "web", false),
            ]
        };
        let names =
            |v: Vec<Arc<Pod>>| v.iter().map(|p| key::name(&p.metadata).to_owned()).collect::<Vec<_>>().join(" ");
        let mut owner = ObjectMeta { uid: Some("me".into()), ..Default::default() };
        let got = claim(&owner, &selector, pods());
        assert_eq!(
            (names(got.mine), names(got.adopt), names(got.release)),
            ("mine mine-dying".into(), "orphan".into(), "stray".into())
        );
        owner.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        let got = claim(&owner, &selector, pods());
        assert_eq!(
            (names(got.mine), names(got.adopt), names(got.release)),
            ("mine mine-dying".into(), String::new(), String::new())
        );
    }
}
