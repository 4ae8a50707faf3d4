//! Stored values: the form in which objects are in the store, and the conversion between it and the canonical JSON of the caches.
//!
//! The embedded store has what this program wrote: canonical JSON. A shared one has what any server wrote, and is written
//! as upstream's servers write it, so that they can be put on it again. What this server wrote there comes back in its
//! watch, byte for byte: it is recognised instead of decoded.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use api::protobuf::Resident;
use api::stored::Form;
use bytes::Bytes;
use machinery::gvk::GroupVersionKind;
use parking_lot::Mutex;
use serde_json::Value;

use model::resource::Resource;

/// So many values are remembered until they come back: more writes than are ever on their way.
const MOST: usize = 1_024;

/// See the module.
pub struct Values {
    shared: bool,
    recent: Recent,
}

impl Values {
    /// Of a store that is `shared` with other servers, or not.
    pub fn new(shared: bool) -> Self {
        Self { shared, recent: Recent::default() }
    }

    /// Whether other servers read and write the store.
    pub fn are_shared(&self) -> bool {
        self.shared
    }

    /// The value to store for an object in canonical JSON, which may be there in protobuf too; it is remembered.
    pub fn write(&self, row: &Resource, body: &Bytes, protobuf: Option<&Resident>) -> Bytes {
        if !self.shared {
            return body.clone();
        }
        let as_it_is = protobuf.filter(|_| row.stored_form == Form::Protobuf && row.stored_version.is_none());
        let value = match as_it_is {
            Some(resident) => resident.stored().into(),
            None => stored(row, body).unwrap_or_else(|| document(body)),
        };
        self.recent.remember(&value, body);
        value
    }

    /// A stored value in canonical JSON; or why it is no object of that row.
    pub fn read(&self, row: &Resource, value: &Bytes) -> Result<Bytes, String> {
        // A custom resource's schema may be another now.
        if self.shared || row.types.custom().is_some() {
            return model::encoding::canonicalise(row, value);
        }
        Ok(value.clone())
    }

    /// The same for a value that comes from the watch.
    pub fn seen(&self, row: &Resource, value: &Bytes) -> Result<Bytes, String> {
        self.recent.take(value).map_or_else(|| self.read(row, value), Ok)
    }
}

fn stored(row: &Resource, body: &Bytes) -> Option<Bytes> {
    row.types.built_in()?;
    let object: Value = serde_json::from_slice(body).ok()?;
    let of = &row.storage_version;
    let version = row.stored_version.as_deref().unwrap_or(&of.version);
    let kind = GroupVersionKind::new(of.group.as_str(), version, of.kind.as_str());
    api::stored::write(&object, of, &kind, row.stored_form).map(Bytes::from)
}

/// A custom resource as Go's encoder writes it: with the end of a line. Byte for byte the same, it is not written anew by an
/// update of upstream's that changes nothing.
fn document(body: &Bytes) -> Bytes {
    [body, &b"\n"[..]].concat().into()
}

/// The values that were written and did not come back yet.
#[derive(Default)]
struct Recent {
    hasher: RandomState,
    values: Mutex<Remembered>,
}

#[derive(Default)]
struct Remembered {
    /// The value and its canonical JSON.
    by_hash: HashMap<u64, (Bytes, Bytes)>,
    /// Oldest first; also of those that came back.
    order: VecDeque<u64>,
}

impl Recent {
    /// To be called before the write: the value can come back sooner than the answer.
    fn remember(&self, value: &Bytes, body: &Bytes) {
        let hash = self.hasher.hash_one(value);
        let mut values = self.values.lock();
        values.by_hash.insert(hash, (value.clone(), body.clone()));
        values.order.push_back(hash);
        if values.order.len() > MOST
            && let Some(oldest) = values.order.pop_front()
        {
            values.by_hash.remove(&oldest);
        }
    }

    /// The object whose value that is, if it is one of ours; once.
    fn take(&self, value: &Bytes) -> Option<Bytes> {
        let hash = self.hasher.hash_one(value);
        let mut values = self.values.lock();
        if values.by_hash.get(&hash)?.0 != value {
            return None;
        }
        values.by_hash.remove(&hash).map(|(_, body)| body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_recognised_once_when_it_comes_back_and_old_ones_are_forgotten() {
        let recent = Recent::default();
        let value = |n: usize| Bytes::from(format!("value {n}"));
        let body = |n: usize| Bytes::from(format!("{{\"n\":{n}}}"));
        for n in 0..MOST + 1 {
            recent.remember(&value(n), &body(n));
        }
        assert_eq!(recent.take(&value(MOST + 1)), None, "another's");
        assert_eq!(recent.take(&value(0)), None, "too long ago");
        assert_eq!(recent.take(&value(1)), Some(body(1)));
        assert_eq!(recent.take(&value(1)), None, "the next one of these bytes is somebody else's");
    }
}
