//! One cached object: its bytes without resourceVersion, and what selectors need of it, read when the first of them
//! asks (most objects of a large cluster are never selected, only copied). Reading splices and copies; decoding is the
//! slow way, for Tables, other versions, patches and admission.

use std::sync::{Arc, OnceLock};

use api::protobuf::{Part, Resident};
use bytes::Bytes;
use model::resource::SelectableField;
use serde_json::Value;

use super::scan::{self, Index, Malformed};
use super::versions::Versions;

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
    protobuf: OnceLock<Option<Arc<Resident>>>,
    /// The object in other versions.
    pub versions: Versions,
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
        let (index, decoded, protobuf) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let versions = Versions::default();
        Ok(Self { key, revision, body, splice, item, comma, index, decoded, protobuf, versions })
    }

    /// With its protobuf, where that has been made already.
    #[must_use]
    pub fn with_protobuf(mut self, made: Option<Arc<Resident>>) -> Self {
        self.protobuf = made.map_or_else(OnceLock::new, |made| OnceLock::from(Some(made)));
        self
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
            protobuf: self.protobuf.clone(),
            versions: Versions::default(),
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

    /// Appends the object's `PartialObjectMetadata` in a version of `meta.k8s.io`; false if that can't be copied, as a custom
    /// resource's can't, whose metadata has another order.
    pub fn write_metadata(&self, version: &str, out: &mut Vec<u8>) -> bool {
        let Some(span) = scan::metadata(&self.body).ok().filter(|_| self.item > 0) else { return false };
        out.extend_from_slice(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/");
        out.extend_from_slice(version.as_bytes());
        out.extend_from_slice(b"\",\"metadata\":");
        self.write_span(span, out);
        out.push(b'}');
        true
    }

    fn write_from(&self, from: usize, out: &mut Vec<u8>) {
        self.write_span(from..self.body.len(), out);
    }

    /// A part of the body that has all of its metadata.
    fn write_span(&self, span: std::ops::Range<usize>, out: &mut Vec<u8>) {
        let splice = self.splice as usize;
        // What was never stored has none.
        if self.revision == 0 {
            out.extend_from_slice(&self.body[span]);
            return;
        }
        let (from, to) = (span.start, span.end);
        out.extend_from_slice(&self.body[from..splice]);
        if matches!(self.comma, Comma::Before) {
            out.push(b',');
        }
        out.extend_from_slice(b"\"resourceVersion\":\"");
        out.extend_from_slice(Decimal::of(self.revision).digits());
        out.push(b'"');
        if matches!(self.comma, Comma::After) {
            out.push(b',');
        }
        out.extend_from_slice(&self.body[splice..to]);
    }

    /// The whole object with its resourceVersion.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size());
        self.write(&mut out);
        out
    }

    /// The object in protobuf, made when it is first asked for and kept; `None` for kinds that have none.
    pub fn protobuf(&self) -> Option<Protobuf<'_>> {
        let make = || Resident::of_json(&self.body).map(Arc::new);
        let resident = self.protobuf.get_or_init(make).as_deref()?;
        Some(Protobuf { resident, revision: Decimal::of(self.revision) })
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

/// An entry's protobuf at its revision.
pub struct Protobuf<'e> {
    resident: &'e Resident,
    revision: Decimal,
}

impl Protobuf<'_> {
    /// Appends the object, or its metadata alone, in its envelope.
    pub fn write(&self, part: Part, out: &mut Vec<u8>) {
        out.reserve(self.resident.length(self.revision.digits(), part));
        self.resident.write(self.revision.digits(), part, out);
    }

    /// Appends it as an item of a list.
    pub fn write_item(&self, part: Part, out: &mut Vec<u8>) {
        self.resident.write_item(self.revision.digits(), part, out);
    }

    /// Bytes that [`write_item`](Self::write_item) appends.
    pub fn item_length(&self, part: Part) -> usize {
        self.resident.item_length(self.revision.digits(), part)
    }

    /// Appends it as the object of a watch event.
    pub fn write_frame(&self, event: &str, part: Part, out: &mut Vec<u8>) {
        let revision = self.revision.digits();
        let length = self.resident.length(revision, part);
        api::protobuf::frame(event, length, |out| self.resident.write(revision, part, out), out);
    }
}

/// A revision's decimal digits, without allocating; 0, which nothing stored has, has none.
struct Decimal {
    buffer: [u8; 20],
    at: usize,
}

impl Decimal {
    fn of(mut n: i64) -> Self {
        let mut decimal = Self { buffer: [0; 20], at: 20 };
        while n > 0 {
            decimal.at -= 1;
            decimal.buffer[decimal.at] = b'0' + (n % 10) as u8;
            n /= 10;
        }
        decimal
    }

    fn digits(&self) -> &[u8] {
        &self.buffer[self.at..]
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

    #[test]
    fn metadata_is_copied_where_its_order_is_that_of_its_type() {
        let copied = |body: &'static str| {
            let entry = Entry::new("ns/a".into(), 7, Bytes::from_static(body.as_bytes())).expect("valid");
            let mut out = Vec::new();
            let is = entry.write_metadata("v1", &mut out);
            is.then(|| String::from_utf8(out).expect("text"))
        };
        let head = r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#;
        let pod = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","uid":"u","labels":{"b":"}"}},"spec":{}}"#;
        let want = r#"{"name":"a","uid":"u","resourceVersion":"7","labels":{"b":"}"}}}"#;
        assert_eq!(copied(pod), Some(format!("{head}{want}")));
        let bare = r#"{"kind":"Pod","apiVersion":"v1","metadata":{}}"#;
        assert_eq!(copied(bare), Some(format!("{head}{{\"resourceVersion\":\"7\"}}}}")));
        assert_eq!(copied(r#"{"apiVersion":"g/v1","kind":"T","metadata":{"name":"a"}}"#), None);
    }

    #[test]
    fn what_was_never_stored_has_no_resource_version() {
        let body =
            br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"},"spec":{"containers":null},"status":{}}"#;
        let entry = Entry::new("ns/a".into(), 0, Bytes::from_static(body)).expect("valid");
        assert_eq!(entry.bytes(), body);
        let mut out = Vec::new();
        entry.protobuf().expect("a built-in kind").write(Part::Whole, &mut out);
        let envelope = api::protobuf::open(&out).expect("an envelope");
        let pod = api::schema::of_object("v1", "Pod").expect("a kind");
        let read = api::protobuf::decode(envelope.raw, pod).expect("a pod");
        assert_eq!(read["metadata"], serde_json::json!({ "name": "a" }));
    }

    #[test]
    fn protobuf_is_made_once_and_shared_by_revisions() {
        let body =
            br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"},"spec":{"containers":null},"status":{}}"#;
        let entry = Entry::new("ns/a".into(), 7, Bytes::from_static(body)).expect("valid");
        let shown = |entry: &Entry| {
            let mut out = Vec::new();
            entry.protobuf().expect("a built-in kind").write(Part::Whole, &mut out);
            let envelope = api::protobuf::open(&out).expect("an envelope");
            let pod = api::schema::of_object("v1", "Pod").expect("a kind");
            (envelope.kind.to_string(), api::protobuf::decode(envelope.raw, pod).expect("a pod")["metadata"].clone())
        };
        assert_eq!(shown(&entry), ("Pod".into(), serde_json::json!({"name": "a", "resourceVersion": "7"})));
        let later = entry.at(12);
        assert_eq!(shown(&later).1["resourceVersion"], "12");
        assert!(std::ptr::eq(entry.protobuf().expect("kept").resident, later.protobuf().expect("kept").resident));

        let custom = br#"{"kind":"Fixture","apiVersion":"example.com/v1","metadata":{"name":"a"}}"#;
        let entry = Entry::new("a".into(), 7, Bytes::from_static(custom)).expect("valid");
        assert!(entry.protobuf().is_none(), "kinds without a schema have no protobuf");
    }
}
