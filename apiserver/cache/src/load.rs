//! From the store's keys and values to cached objects: which cache a key belongs to, and reading all of one or of every
//! cache at one revision.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use model::resource::Resource;
use storage::{RangeOptions, Storage};

use super::{Contents, Entry};

/// The root of all keys.
pub(super) const ROOT: &str = "/registry/";
/// Keys read at once while loading over a network.
pub(super) const PAGE: usize = 5_000;

/// Makes a stored value canonical JSON of the storage version (defaults, field order), or says why it cannot be.
pub type Canonicalise = Arc<dyn Fn(&Resource, &Bytes) -> Result<Bytes, String> + Send + Sync>;

/// `services/specs/ns/name` -> (`services/specs`, `ns/name`): prefixes have one segment or two.
pub(super) fn route(known: impl Fn(&str) -> bool, key: &str) -> Option<(&str, &str)> {
    let (first, rest) = key.split_once('/')?;
    if known(first) {
        return Some((first, rest));
    }
    let second = first.len() + 1 + rest.find('/')?;
    let prefix = &key[..second];
    known(prefix).then(|| (prefix, &key[second + 1..]))
}

/// What was read.
pub(super) struct Loaded {
    /// The revision at which it is exact.
    pub revision: i64,
    /// The objects by storage prefix.
    pub contents: HashMap<String, Contents>,
}

/// Reads the objects of all rows (by storage prefix) below `root`, at `revision` or at the newest.
pub(super) async fn load(
    storage: &dyn Storage,
    root: &str,
    revision: Option<i64>,
    rows: &HashMap<String, Arc<Resource>>,
    canonicalise: &Canonicalise,
) -> Result<Loaded, storage::Error> {
    let mut loaded = Loaded { revision: revision.unwrap_or(0), contents: HashMap::new() };
    let mut start_after = None;
    let limit = if storage.is_shared() { PAGE } else { 0 };
    loop {
        let revision = (loaded.revision > 0).then_some(loaded.revision);
        let options = RangeOptions { revision, limit, start_after: start_after.take(), ..RangeOptions::default() };
        let page = storage.range(root, options).await?;
        if loaded.revision == 0 {
            loaded.revision = page.revision;
        }
        for kv in &page.kvs {
            let key = kv.key.strip_prefix(ROOT);
            let Some((prefix, key)) = key.and_then(|k| route(|prefix| rows.contains_key(prefix), k)) else { continue };
            let key: Arc<str> = key.into();
            let contents = loaded.contents.entry(prefix.to_string()).or_default();
            match entry(&rows[prefix], key.clone(), kv.mod_revision, &kv.value, canonicalise) {
                Some(entry) => drop(contents.objects.insert(key, Arc::new(entry))),
                None => drop(contents.unreadable.insert(key, kv.mod_revision)),
            }
        }
        match page.kvs.last() {
            Some(last) if page.more => start_after = Some(last.key.to_string()),
            _ => return Ok(loaded),
        }
    }
}

/// A stored value as a cached object; `None`, and a line in the log, where it cannot be one.
pub(super) fn entry(
    row: &Resource,
    key: Arc<str>,
    revision: i64,
    value: &Bytes,
    canonicalise: &Canonicalise,
) -> Option<Entry> {
    let entry = canonicalise(row, value).and_then(|body| {
        let made = Entry::new(key.clone(), revision, body);
        made.map_err(|error| error.to_string())
    });
    match entry {
        Ok(entry) => Some(entry),
        Err(error) => {
            tracing::error!(resource = %row.resource, %key, revision, %error, "a stored value cannot be served");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_routed_by_one_segment_or_two() {
        let known = ["pods", "services/specs", "apiregistration.k8s.io/apiservices"];
        for (key, expect) in [
            ("pods/ns/a", Some(("pods", "ns/a"))),
            ("services/specs/ns/a", Some(("services/specs", "ns/a"))),
            ("apiregistration.k8s.io/apiservices/v1.", Some(("apiregistration.k8s.io/apiservices", "v1."))),
            ("services/endpoints/ns/a", None),
            ("pods", None),
        ] {
            assert_eq!(route(|prefix| known.contains(&prefix), key), expect, "{key}");
        }
    }
}
