//! What the objects of one kind use, remembered by their resourceVersion: a count of a namespace with thousands of pods
//! looks anew only at those that changed.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use parking_lot::Mutex;
use serde::Serialize;
use usage::{Evaluator, Facts, amounts::Amounts};

use crate::util::key;

/// What one object uses, and what scopes ask of it.
pub(crate) struct Counted {
    pub(crate) facts: Facts,
    pub(crate) usage: Amounts,
}

struct Entry {
    version: Option<String>,
    /// From then on it has to be looked at again, although it is the same.
    until: Option<Timestamp>,
    counted: Arc<Counted>,
}

type Names = HashMap<String, Entry>;

/// By namespace, those with quotas alone.
#[derive(Default)]
pub(crate) struct Memory(Mutex<HashMap<String, Names>>);

impl Memory {
    /// What each of a namespace's objects uses now; of others nothing is remembered.
    pub(crate) fn of<K: Resource + Serialize>(
        &self,
        evaluator: &Evaluator<'_>,
        namespace: &str,
        objects: impl Iterator<Item = Arc<K>>,
        now: Timestamp,
    ) -> Vec<Arc<Counted>> {
        // Whoever counts the same namespace meanwhile starts from nothing, and waits for nobody.
        let mut before = self.0.lock().remove(namespace).unwrap_or_default();
        let mut names = Names::with_capacity(before.len());
        let mut all = Vec::with_capacity(before.len());
        for object in objects {
            let (name, version) = (key::name(object.meta()), &object.meta().resource_version);
            let known =
                before.remove(name).filter(|e| e.version == *version && e.until.is_none_or(|until| now <= until));
            let entry = known.or_else(|| look(evaluator, &*object, now));
            let Some(entry) = entry else { continue };
            all.push(entry.counted.clone());
            names.insert(name.to_owned(), entry);
        }
        self.0.lock().insert(namespace.to_owned(), names);
        all
    }

    /// Nobody counts there any more.
    pub(crate) fn forget(&self, namespace: &str) {
        self.0.lock().remove(namespace);
    }
}

fn look<K: Resource + Serialize>(evaluator: &Evaluator<'_>, object: &K, now: Timestamp) -> Option<Entry> {
    let value = serde_json::to_value(object).ok()?;
    let counted = Counted { facts: Facts::of(evaluator.counted, &value), usage: evaluator.usage(&value, now) };
    let until = evaluator.overdue(&value).filter(|until| now <= *until);
    Some(Entry { version: object.meta().resource_version.clone(), until, counted: Arc::new(counted) })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_looked_at_again_when_it_changes_and_when_its_time_is_over() {
        let (memory, pods) = (Memory::default(), Evaluator::of("", "pods"));
        let pod = |version: &str| {
            let meta = json!({
                "name": "p", "resourceVersion": version,
                "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30,
            });
            Arc::new(serde_json::from_value::<Pod>(json!({"metadata": meta})).unwrap())
        };
        let of = |pod: &Arc<Pod>, second: u32| {
            let now = format!("2026-01-01T00:00:{second:02}Z").parse().unwrap();
            memory.of(&pods, "ns", std::iter::once(pod.clone()), now).remove(0)
        };
        let first = of(&pod("1"), 10);
        assert!(Arc::ptr_eq(&first, &of(&pod("1"), 30)), "the same");
        let second = of(&pod("2"), 30);
        assert!(!Arc::ptr_eq(&first, &second), "changed");
        let overdue = of(&pod("2"), 31);
        assert!(second.usage.contains_key("pods") && !overdue.usage.contains_key("pods"));
        assert!(Arc::ptr_eq(&overdue, &of(&pod("2"), 59)), "nothing more will happen");
        memory.forget("ns");
        assert!(!Arc::ptr_eq(&overdue, &of(&pod("2"), 59)));
    }
}
