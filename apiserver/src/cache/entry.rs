//! One cached object: its bytes without resourceVersion, and what selectors need of it, read when the first of them
//! asks (most objects of a large cluster are never selected, only copied). Reading splices and copies; decoding is the
//! slow way, for Tables, other versions, patches and admission.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::Value;

use super::scan::{self, Index, Malformed};
use crate::registry::catalogue::SelectableField;

/// A cached object at one revision.
#[derive(Debug)]
pub struct Entry {
    /// The storage key after the resource's prefix: `namespace/name` or `name`.
    pub key: Arc<str>,
    /// The revision of its last write: its resourceVersion.
    pub revision: i64,
    /// JSON in the cached version, without resourceVersion.
    pub body: Bytes,
    splice: u32,
    item: u32,
    comma: Comma,
    index: OnceLock<Box<Index>>,
    decoded: OnceLock<Arc<Value>>,
}

/// Where the spliced member needs a comma.
#[derive(Debug, Clone, Copy)]
enum Comma {
    Before,
    After,
    None,
}

impl Entry {
    /// Takes bytes into the cache. `body` is canonical JSON, see [`scan`].
    pub fn new(key: Arc<str>, revision: i64, body: Bytes) -> Result<Self, Malformed> {
        let found = scan::head(&body)?;
        let comma = match (found.first, found.lone) {
            (false, _) => Comma::Before,
            (true, true) => Comma::None,
            (true, false) => Comma::After,
        };
        let (splice, item) = (found.splice as u32, found.item as u32);
        Ok(Self { key, revision, body, splice, item, comma, index: OnceLock::new(), decoded: OnceLock::new() })
    }

    /// The same object at another revision: what a DELETED event carries.
    pub fn at(&self, revision: i64) -> Self {
        Self {
            key: self.key.clone(),
            revision,
            body: self.body.clone(),
            splice: self.splice,
            item: self.item,
            comma: self.comma,
            index: OnceLock::new(),
            decoded: OnceLock::new(),
        }
    }

    /// The namespace, for namespaced kinds.
    pub fn namespace(&self) -> Option<&str> {
        self.key.split_once('/').map(|(namespace, _)| namespace)
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.key.rsplit_once('/').map_or(&self.key, |(_, name)| name)
    }

    /// The labels, and the selectable fields of the resource in its order.
    pub fn indexed(&self, selectable: &[SelectableField]) -> &Index {
        self.index.get_or_init(|| {
            let found = scan::index(&self.body, selectable).unwrap_or_else(|error| {
                tracing::error!(key = %self.key, revision = self.revision, %error, "a stored value cannot be selected");
                // As an object without any of them.
                let fields = selectable.iter().map(|f| Box::from(f.absent)).collect();
                Index { fields, ..Index::default() }
            });
            Box::new(found)
        })
    }

    /// Bytes that [`write`](Self::write) will append, about.
    pub fn size(&self) -> usize {
        self.body.len() + 40
    }

    /// Appends the whole object with its resourceVersion.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_from(0, out);
    }

    /// Appends the object as an item of a list: without kind and apiVersion, as upstream's typed lists.
    pub fn write_item(&self, out: &mut Vec<u8>) {
        if self.item > 0 {
            out.push(b'{');
        }
        self.write_from(self.item as usize, out);
    }

    fn write_from(&self, from: usize, out: &mut Vec<u8>) {
        let splice = self.splice as usize;
        out.extend_from_slice(&self.body[from..splice]);
        if matches!(self.comma, Comma::Before) {
            out.push(b',');
        }
        out.extend_from_slice(b"\"resourceVersion\":\"");
        let mut digits = [0u8; 20];
        out.extend_from_slice(decimal(self.revision, &mut digits));
        out.push(b'"');
        if matches!(self.comma, Comma::After) {
            out.push(b',');
        }
        out.extend_from_slice(&self.body[splice..]);
    }

    /// The whole object with its resourceVersion.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size());
        self.write(&mut out);
        out
    }

    /// The slow way: the decoded object with resourceVersion, not kept.
    pub fn decode(&self) -> Value {
        serde_json::from_slice(&self.bytes()).unwrap_or_default()
    }

    /// The decoded object, made once and kept: for the few objects the server itself reads often (roles, namespaces).
    pub fn value(&self) -> Arc<Value> {
        self.decoded.get_or_init(|| Arc::new(self.decode())).clone()
    }
}

fn decimal(mut n: i64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return &buffer[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_its_bytes_with_the_revision_spliced_in() {
        let body =
            Bytes::from_static(br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","uid":"u"},"spec":{}}"#);
        let entry = Entry::new("ns/a".into(), 1204, body).expect("valid");
        assert_eq!(
            String::from_utf8_lossy(&entry.bytes()),
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","uid":"u","resourceVersion":"1204"},"spec":{}}"#
        );
        let mut item = Vec::new();
        entry.write_item(&mut item);
        assert_eq!(
            String::from_utf8_lossy(&item),
            r#"{"metadata":{"name":"a","uid":"u","resourceVersion":"1204"},"spec":{}}"#
        );
        assert_eq!((entry.namespace(), entry.name()), (Some("ns"), "a"));
        assert_eq!(entry.value()["metadata"]["resourceVersion"], "1204");
    }
}
