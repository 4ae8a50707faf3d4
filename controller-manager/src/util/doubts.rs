//! Creations of which it is not known whether they were done: the connection broke, or the server did, before it answered.
//! Where the server makes the name, the object would be made a second time by who looks before the informer has shown
//! it, and one too many can't always be made good: a job's pod runs to its end, a node has two daemons for a while.
//!
//! Such an owner is put off until the informer shows all that the server has of it. Upstream makes the object again.

use std::{collections::HashSet, fmt::Debug};

use client::Informer;
use controller::controller_of;
use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, Resource, api::ListParams};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use super::key::{self, Key};

/// The owners in doubt.
#[derive(Default)]
pub(crate) struct Doubts(Mutex<HashSet<Key>>);

impl Doubts {
    /// A creation for this owner has failed.
    pub(crate) fn note(&self, owner: &Key, error: &kube::Error) {
        if client::is_unknown(error) {
            self.0.lock().insert(owner.clone());
        }
    }

    /// Whether there is no doubt about what an owner of that UID has of a kind: if there was one, the informer shows by now
    /// all that the server has.
    pub(crate) async fn settled<K>(
        &self,
        owner: &Key,
        uid: &str,
        client: &Client,
        informer: &Informer<K>,
    ) -> kube::Result<bool>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
    {
        let shown = |meta: &ObjectMeta| {
            let known = informer.get(Some(&owner.namespace), key::name(meta));
            known.is_some_and(|known| known.meta().uid == meta.uid)
        };
        self.settled_where::<K>(owner, uid, client, shown).await
    }

    /// The same, where `shown` says what the owner's controller has been shown.
    pub(crate) async fn settled_where<K>(
        &self,
        owner: &Key,
        uid: &str,
        client: &Client,
        shown: impl Fn(&ObjectMeta) -> bool,
    ) -> kube::Result<bool>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
    {
        if !self.about(owner) {
            return Ok(true);
        }
        let api: Api<K> = Api::namespaced(client.clone(), &owner.namespace);
        let there = api.list_metadata(&ListParams::default()).await?;
        let own = |meta: &&ObjectMeta| controller_of(meta).is_some_and(|controller| controller.uid == uid);
        let own = there.items.iter().map(|object| &object.metadata).filter(own);
        Ok(self.settle(owner, own, shown))
    }

    fn about(&self, owner: &Key) -> bool {
        self.0.lock().contains(owner)
    }

    fn settle<'a>(
        &self,
        owner: &Key,
        there: impl IntoIterator<Item = &'a ObjectMeta>,
        shown: impl Fn(&ObjectMeta) -> bool,
    ) -> bool {
        let all = there.into_iter().all(shown);
        if all {
            self.forget(owner);
        }
        all
    }

    /// The owner is gone, or has nothing to make any more.
    pub(crate) fn forget(&self, owner: &Key) {
        self.0.lock().remove(owner);
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn error(code: u16) -> kube::Error {
        kube::Error::Api(Box::new(Status { code, ..Status::default() }))
    }

    #[test]
    fn an_owner_is_in_doubt_until_the_informer_shows_what_is_there() {
        let (doubts, owner) = (Doubts::default(), Key::new("ns", "a"));
        for (error, doubtful) in [
            (error(403), false),
            (error(409), false),
            (error(429), false),
            (error(500), true),
            (error(504), true),
            (kube::Error::Service("the connection broke".into()), true),
        ] {
            doubts.forget(&owner);
            doubts.note(&owner, &error);
            assert_eq!(doubts.about(&owner), doubtful, "{error}");
        }
        assert!(!doubts.about(&Key::new("ns", "b")));
        let there = ["p", "q"].map(|name| ObjectMeta { name: Some(name.into()), ..Default::default() });
        assert!(!doubts.settle(&owner, &there, |meta| meta.name.as_deref() == Some("p")) && doubts.about(&owner));
        assert!(doubts.settle(&owner, &there, |_| true) && !doubts.about(&owner));
    }
}
