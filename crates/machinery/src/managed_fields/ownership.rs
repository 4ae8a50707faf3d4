//! The loss of ownership when an object changes (`merge.Updater.update`): the part that updates and applies share.

use super::entry::Entry;
use super::{Comparison, Resets, Set, Versions, compare};
use crate::status::{Cause, StatusError};
use serde_json::Value;
use std::sync::LazyLock;

/// A change of an object that one manager makes.
pub(super) struct Change<'c, V> {
    pub versions: &'c V,
    /// The version that both objects are in.
    pub api_version: &'c str,
    pub old: &'c Value,
    pub new: &'c Value,
    pub resets: Resets,
}

/// A field that another manager owns and would lose.
pub(super) struct Conflict {
    /// The manager, as messages name it.
    pub manager: String,
    pub fields: Set,
}

impl<'a, V: Versions<'a>> Change<'_, V> {
    /// What changed, seen in that version; None where the kind has none such.
    pub fn seen_in(&self, api_version: &str) -> Option<Comparison> {
        let (old, schema) = self.versions.at(self.old, self.api_version, api_version)?;
        let (new, _) = self.versions.at(self.new, self.api_version, api_version)?;
        let mut found = compare(&old, &new, schema);
        self.resets.exclude(&mut found);
        Some(found)
    }

    /// Takes from the managers what they no longer own. Without `force`, nothing is taken where one of them would lose a
    /// field that it set.
    pub fn take(&self, entries: &mut Vec<Entry>, force: bool) -> Result<Option<Comparison>, Vec<Conflict>> {
        let here = self.seen_in(self.api_version);
        let mut elsewhere: Vec<(String, Option<Comparison>)> = Vec::new();
        for entry in entries.iter().filter(|e| e.api_version != self.api_version) {
            if !elsewhere.iter().any(|(version, _)| *version == entry.api_version) {
                elsewhere.push((entry.api_version.clone(), self.seen_in(&entry.api_version)));
            }
        }
        let found = |version: &str| match version == self.api_version {
            true => here.as_ref(),
            false => elsewhere.iter().find(|(v, _)| v == version).and_then(|(_, found)| found.as_ref()),
        };
        if !force {
            let mut conflicts = Vec::new();
            for entry in entries.iter() {
                let Some(found) = found(&entry.api_version) else { continue };
                let mut lost = entry.fields.clone();
                let mut taken = found.modified.clone();
                taken.extend(found.added.clone());
                lost.intersect(&taken);
                if !lost.is_empty() {
                    conflicts.push(Conflict { manager: entry.show(), fields: lost });
                }
            }
            if !conflicts.is_empty() {
                return Err(conflicts);
            }
        }
        entries.retain_mut(|entry| {
            let Some(found) = found(&entry.api_version) else { return false };
            for lost in [&found.added, &found.modified, &found.removed] {
                entry.fields.subtract(lost);
            }
            !entry.fields.is_empty()
        });
        Ok(here)
    }

    /// Brings entries to what the schema says now of lists and maps; those of versions that there are no more go.
    pub fn reconcile(&self, entries: &mut Vec<Entry>) {
        entries.retain_mut(|entry| {
            let Some(schema) = self.versions.schema(&entry.api_version) else { return false };
            entry.fields.reconcile(schema);
            true
        });
    }
}

/// 409 with a cause a field.
pub(super) fn refuse(mut conflicts: Vec<Conflict>) -> StatusError {
    conflicts.sort_by(|a, b| a.manager.cmp(&b.manager));
    let listed: Vec<(String, Vec<String>)> = conflicts.into_iter().map(|c| (c.manager, c.fields.paths())).collect();
    let count: usize = listed.iter().map(|(_, paths)| paths.len()).sum();
    let message = match listed.as_slice() {
        [(manager, paths)] if count == 1 => {
            format!("Apply failed with 1 conflict: conflict with {manager}: {}", paths.join(""))
        }
        _ => {
            let lines = listed.iter().flat_map(|(manager, paths)| {
                std::iter::once(format!("conflicts with {manager}:"))
                    .chain(paths.iter().map(|path| format!("- {path}")))
            });
            format!("Apply failed with {count} conflicts: {}", lines.collect::<Vec<_>>().join("\n"))
        }
    };
    let causes = listed.into_iter().flat_map(|(manager, paths)| {
        paths.into_iter().map(move |field| Cause {
            kind: "FieldManagerConflict".into(),
            message: format!("conflict with {manager}"),
            field,
        })
    });
    StatusError::apply_conflict(causes.collect(), message)
}

/// What nobody owns.
pub(super) static STRIPPED: LazyLock<Set> = LazyLock::new(|| {
    let mut out = Set::of(&["apiVersion"]);
    out.extend(Set::of(&["kind"]));
    out.extend(Set::of(&["metadata"]));
    for field in [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ] {
        out.extend(Set::of(&["metadata", field]));
    }
    out
});
