//! What the conditions of a namespace say about its deletion, in upstream's words.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{NamespaceCondition, NamespaceStatus},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};

use crate::util::discovery::Resource;

/// Type, and reason and message when all is well.
const TYPES: [(&str, &str, &str); 5] = [
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    ("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
    (
        "NamespaceDeletionContentFailure",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    ("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed"),
    ("NamespaceFinalizersRemaining", "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
];

/// What was met on the way.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) discovery: Option<String>,
    /// What could not be deleted.
    pub(crate) content: Vec<String>,
    /// Everything that makes another try worthwhile.
    pub(crate) errors: Vec<String>,
    remaining: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
}

impl Findings {
    pub(crate) fn add(&mut self, resource: &Resource, count: usize, finalizers: BTreeMap<String, usize>) {
        if count > 0 {
            self.remaining.insert(format!("{}.{}", resource.plural, resource.group), count);
        }
        for (finalizer, n) in finalizers {
            *self.finalizers.entry(finalizer).or_insert(0) += n;
        }
    }

    fn problem(&self, kind: &str) -> Option<(&'static str, String)> {
        let list = |of: &BTreeMap<String, usize>, word: &str| {
            let parts: Vec<_> = of.iter().map(|(what, n)| format!("{what} {word} {n} resource instances")).collect();
            parts.join(", ")
        };
        match kind {
            "NamespaceDeletionDiscoveryFailure" => self.discovery.clone().map(|m| ("DiscoveryFailed", m)),
            "NamespaceDeletionContentFailure" if !self.content.is_empty() => {
                let mut sorted = self.content.clone();
                sorted.sort();
                let (n, all) = (sorted.len(), sorted.join(", "));
                Some(("ContentDeletionFailed", format!("Failed to delete all resource types, {n} remaining: {all}")))
            }
            "NamespaceContentRemaining" if !self.remaining.is_empty() => {
                Some(("SomeResourcesRemain", format!("Some resources are remaining: {}", list(&self.remaining, "has"))))
            }
            "NamespaceFinalizersRemaining" if !self.finalizers.is_empty() => {
                let all = list(&self.finalizers, "in");
                Some(("SomeFinalizersRemain", format!("Some content in the namespace has finalizers remaining: {all}")))
            }
            _ => None,
        }
    }

    /// Writes the conditions; true if one changed.
    pub(crate) fn update(&self, status: &mut NamespaceStatus, now: Timestamp) -> bool {
        let mut changed = false;
        for (kind, ok_reason, ok_message) in TYPES {
            let problem = self.problem(kind);
            let value = if problem.is_some() { "True" } else { "False" };
            let (reason, message) = problem.unwrap_or((ok_reason, ok_message.to_owned()));
            let new = NamespaceCondition {
                type_: kind.into(),
                status: value.into(),
                reason: Some(reason.into()),
                message: Some(message),
                last_transition_time: Some(Time(now)),
            };
            let conditions = status.conditions.get_or_insert_default();
            match conditions.iter_mut().find(|c| c.type_ == kind) {
                None => {
                    conditions.push(new);
                    changed = true;
                }
                Some(old) if old.status != new.status => {
                    *old = new;
                    changed = true;
                }
                Some(old) if old.message != new.message || old.reason != new.reason => {
                    (old.reason, old.message) = (new.reason, new.message);
                    changed = true;
                }
                Some(_) => {}
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn resource(plural: &str, group: &str) -> Resource {
        Resource {
            group: group.into(),
            version: "v1".into(),
            plural: plural.into(),
            kind: String::new(),
            namespaced: true,
            preferred: true,
            verbs: vec![],
        }
    }

    fn print(status: &NamespaceStatus) -> String {
        let conditions = status.conditions.iter().flatten();
        conditions.map(|c| format!("{}={} {}\n", c.type_, c.status, c.message.as_deref().unwrap())).collect()
    }

    #[test]
    fn what_remains_is_said_and_taken_back() {
        let (mut findings, mut status, now) = (Findings::default(), NamespaceStatus::default(), Timestamp::UNIX_EPOCH);
        findings.add(&resource("pods", ""), 2, [("x/y".to_owned(), 1)].into());
        findings.add(&resource("widgets", "example.com"), 1, BTreeMap::new());
        assert!(findings.update(&mut status, now));
        assert!(!findings.update(&mut status, now));
        expect![[r#"
            NamespaceDeletionDiscoveryFailure=False All resources successfully discovered
            NamespaceDeletionGroupVersionParsingFailure=False All legacy kube types successfully parsed
            NamespaceDeletionContentFailure=False All content successfully deleted, may be waiting on finalization
            NamespaceContentRemaining=True Some resources are remaining: pods. has 2 resource instances, widgets.example.com has 1 resource instances
            NamespaceFinalizersRemaining=True Some content in the namespace has finalizers remaining: x/y in 1 resource instances
        "#]]
        .assert_eq(&print(&status));
        assert!(Findings::default().update(&mut status, now));
        assert!(!print(&status).contains("=True"));
    }
}
