//! Creations of which it is not known whether they were done: the connection broke, or the server did, before it answered.
//! Where the server makes the name, the object would be made a second time by who looks before the informer has shown
//! it, and for some kinds one too many can't be made good: a job's pod runs to its end.
//!
//! Such an owner is put off until the informer shows all that the server has of it. Upstream makes the object again.

use std::collections::HashSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;

use super::key::Key;

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

    pub(crate) fn about(&self, owner: &Key) -> bool {
        self.0.lock().contains(owner)
    }

    /// Whether the informer shows all that the server has: then there is no doubt any more.
    pub(crate) fn settle<'a>(
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
