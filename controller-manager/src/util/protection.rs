//! Protection finalizers: what is still in use may be deleted, but does not go before its last user has.
//!
//! Upstream: `pkg/controller/util/protectionutil`. Admission puts the finalizer on what is created; a controller puts it
//! on what was created without, and takes it off what is deleted and unused.

use client::{Change, Informer};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Resource, api::PostParams};
use serde::{Serialize, de::DeserializeOwned};

use super::key;

/// What to do with the finalizer of an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Action {
    Add,
    Remove,
}

fn protected(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers.iter().flatten().any(|f| f == finalizer)
}

/// Whether there can be something to do: it is deleted and protected, or neither.
pub(crate) fn concerns(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.deletion_timestamp.is_some() == protected(meta, finalizer)
}

/// Calls `wake` for each object that a change leaves something to do about.
pub(crate) fn on_concern<K>(
    informer: &Informer<K>,
    finalizer: &'static str,
    wake: impl Fn(&ObjectMeta) + Send + Sync + 'static,
) where
    K: Resource + 'static,
{
    informer.on_change(move |change| {
        let meta = change.object().meta();
        if !matches!(change, Change::Deleted(_)) && concerns(meta, finalizer) {
            wake(meta);
        }
    });
}

/// Decides; `in_use` is asked of what is deleted and protected only.
pub(crate) fn decide(meta: &ObjectMeta, finalizer: &str, in_use: impl FnOnce() -> bool) -> Option<Action> {
    match (meta.deletion_timestamp.is_some(), protected(meta, finalizer)) {
        (true, true) => (!in_use()).then_some(Action::Remove),
        (false, false) => Some(Action::Add),
        _ => None,
    }
}

/// Writes the object with or without its finalizer, by PUT: the controllers' roles allow no patch.
///
/// # Errors
/// Whatever the server refuses, a conflict too; that the object has gone is none.
pub(crate) async fn carry_out<K>(api: &Api<K>, object: &K, finalizer: &str, action: Action) -> anyhow::Result<()>
where
    K: Resource + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
{
    let mut object = object.clone();
    let finalizers = object.meta_mut().finalizers.get_or_insert_default();
    match action {
        Action::Add => finalizers.push(finalizer.to_owned()),
        Action::Remove => finalizers.retain(|f| f != finalizer),
    }
    match api.replace(key::name(object.meta()), &PostParams::default(), &object).await {
        Err(e) if !client::is_not_found(&e) => Err(e.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_living_are_protected_and_the_unused_are_let_go() {
        let check = |deleted: bool, finalizers: &[&str], in_use: bool, want: Option<Action>| {
            let mut meta = json!({"name": "x", "finalizers": finalizers});
            if deleted {
                meta["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            let meta: ObjectMeta = serde_json::from_value(meta).unwrap();
            assert_eq!(decide(&meta, "f", || in_use), want, "{meta:?}");
            assert!(concerns(&meta, "f") || want.is_none(), "{meta:?}");
        };
        check(false, &[], false, Some(Action::Add));
        check(false, &["other"], true, Some(Action::Add));
        check(false, &["f"], false, None);
        check(true, &["other", "f"], true, None);
        check(true, &["other", "f"], false, Some(Action::Remove));
        check(true, &["other"], false, None);
    }
}
