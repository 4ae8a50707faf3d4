//! A resource: one row of the catalogue, from which everything that differs between kinds by data is derived (paths,
//! discovery, storage keys, RBAC attributes, field selectors, Tables, the coverage tests).
//!
//! Rows are of three sorts (see [`Sort`]). A custom resource becomes a row at run time.

use std::borrow::Cow;

use api::stored::Form;
use machinery::gvk::{GroupKind, GroupResource, GroupVersionKind, GroupVersionResource};
use machinery::json::Fields;

use jiff::Timestamp;
use machinery::managed_fields::Resets;
use machinery::names::{self, NameRule};
use serde_json::Value;

use crate::types::Types;

/// The cells of one object in a Table, one for each column.
pub type Cells = fn(&Value, Timestamp) -> Vec<Value>;

/// The columns of resources without a printer of their own upstream.
pub const DEFAULT_COLUMNS: (&str, Cells) = ("=Name|@Created At", |object, _| {
    vec![object["metadata"].text("name").into(), object["metadata"].text("creationTimestamp").into()]
});

/// Text of a row: static for built-in kinds, owned for custom resources.
pub type Text = Cow<'static, str>;

/// Where the objects of a row are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sort {
    /// In the store, under `/registry/<prefix>/[<namespace>/]<name>`.
    Stored {
        /// Upstream's storage prefix, for example `pods`, `services/specs`, `minions`.
        prefix: Text,
    },
    /// Nowhere: answered by code (reviews, bindings, ComponentStatus).
    Virtual,
    /// In another row's store, served under a second group (`events` of events.k8s.io).
    Cohabiting {
        /// The row that stores.
        with: GroupResource,
    },
}

/// The verbs of the API, as discovery and RBAC name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Verb {
    Create,
    Delete,
    DeleteCollection,
    Get,
    List,
    Patch,
    Update,
    Watch,
}

impl Verb {
    /// The name in discovery and RBAC.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Patch => "patch",
            Verb::Update => "update",
            Verb::Watch => "watch",
        }
    }
}

/// All verbs that an ordinary stored resource has.
pub const ALL: &[Verb] = &[
    Verb::Create,
    Verb::Delete,
    Verb::DeleteCollection,
    Verb::Get,
    Verb::List,
    Verb::Patch,
    Verb::Update,
    Verb::Watch,
];

/// A part of an object with a path and RBAC name of its own.
#[derive(Debug, Clone)]
pub struct Subresource {
    /// `status`, `scale`, `binding`, `log`, ...
    pub name: Text,
    /// The kind of its bodies: `Pod` for `pods/status`, `Scale` for `deployments/scale`.
    pub kind: GroupVersionKind,
    /// What discovery says that it can do.
    pub verbs: &'static [Verb],
}

/// A field that field selectors may name beside `metadata.name` and `metadata.namespace`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectableField {
    /// The name in a selector, for example `spec.nodeName`.
    pub name: Text,
    /// Where the value is in the object, dotted JSON names; the same as `name` but for a few (`involvedObject.name`).
    pub path: Text,
    /// The value of an object that lacks the field (`""` for most, `false` for booleans).
    pub absent: &'static str,
    /// The name of the selectable field whose value stands in where this one is empty (an Event's `source`), or empty.
    pub fallback: &'static str,
}

/// What `metadata.generation` counts (upstream's strategies, each for itself).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    /// Whether a new object has 1; else none, until the first change.
    pub from_create: bool,
    /// Whether a change outside metadata and status raises it.
    pub content: bool,
    /// Members of the metadata whose change raises it too.
    pub metadata: &'static [&'static str],
}

impl Generation {
    /// What nearly all kinds count.
    pub const USUAL: Self = Self { from_create: true, content: true, metadata: &[] };
}

/// One resource.
#[derive(Clone)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: Text,
    /// The served version of this row. A kind with several served versions has a row for each, sharing `prefix`.
    pub version: Text,
    /// Plural name, as in paths.
    pub resource: Text,
    /// Singular name, as in discovery.
    pub singular: Text,
    /// Kind.
    pub kind: Text,
    /// The kind of lists.
    pub list_kind: Text,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// The schema of its objects in this version.
    pub types: Types,
    /// Where the objects are.
    pub sort: Sort,
    /// The version in which objects are stored and cached (equals `version` for nearly all).
    pub storage_version: GroupVersionKind,
    /// How upstream's servers write objects to etcd.
    pub stored_form: Form,
    /// The version that they write, where it is another than the storage version.
    pub stored_version: Option<Text>,
    /// Verbs of the resource itself.
    pub verbs: &'static [Verb],
    /// The verbs that discovery shows, where these are not all: of a resource on its way out.
    pub advertised: Option<&'static [Verb]>,
    /// Short names for kubectl.
    pub short_names: Vec<Text>,
    /// Categories for kubectl (`all`).
    pub categories: Vec<Text>,
    /// Parts with paths of their own.
    pub subresources: Vec<Subresource>,
    /// What `metadata.generation` counts, where it counts.
    pub generation: Option<Generation>,
    /// Fields that selectors may name.
    pub selectable: Vec<SelectableField>,
    /// Those of them that this version does not offer: all versions of a custom resource share what is extracted.
    pub withheld: Vec<Text>,
    /// Seconds until a stored object expires (Events: 3600).
    pub ttl_seconds: Option<u64>,
    /// What names may be.
    pub name_rule: NameRule,
    /// Whether a PUT to a name that does not exist creates it (upstream: Lease, Event, RBAC kinds, and few others).
    pub create_on_update: bool,
    /// Whether an update without resourceVersion overwrites whatever is there.
    pub unconditional_update: bool,
    /// Whether a delete that ends at once answers with the object instead of a Status.
    pub returns_deleted: bool,
    /// Fields that a write leaves as they are, where that is not the usual (see [`Resource::resets`]): by subresource, ""
    /// for the object itself.
    pub resets: Vec<(Text, Resets)>,
    /// What `kubectl get` shows: the columns, and what fills them from an object in the storage version. Columns are divided by
    /// `|`. Before a column's name: `+` only in wide output, `#` integer, `?` boolean, `@` date, `=` the object's name; all
    /// others are text.
    pub columns: (&'static str, Cells),
    /// The condition that an object's row of a Table carries beside its cells: what clients that wait read (of a pod, that
    /// it has completed).
    pub table_condition: Option<fn(&Value) -> Option<Value>>,
    /// What clients of a deprecated version are told with every answer.
    pub deprecation: Option<Text>,
}

impl Resource {
    /// A stored resource with all verbs, namespaced, without rules of its own; the builder methods change that.
    /// `prefix` is the storage prefix after `/registry/`.
    pub fn stored(
        group: &'static str,
        version: &'static str,
        resource: &'static str,
        kind: &'static str,
        prefix: &'static str,
    ) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
            resource: resource.into(),
            singular: kind.to_ascii_lowercase().into(),
            kind: kind.into(),
            list_kind: format!("{kind}List").into(),
            namespaced: true,
            types: Types::of(&GroupVersionKind::new(group, version, kind)),
            sort: Sort::Stored { prefix: prefix.into() },
            storage_version: GroupVersionKind::new(group, version, kind),
            stored_form: Form::Protobuf,
            stored_version: None,
            verbs: ALL,
            advertised: None,
            short_names: Vec::new(),
            categories: Vec::new(),
            subresources: Vec::new(),
            generation: None,
            selectable: Vec::new(),
            withheld: Vec::new(),
            ttl_seconds: None,
            name_rule: names::name_is_dns_subdomain,
            create_on_update: false,
            unconditional_update: true,
            returns_deleted: false,
            resets: Vec::new(),
            columns: DEFAULT_COLUMNS,
            table_condition: None,
            deprecation: None,
        }
    }

    /// A resource that stores nothing.
    pub fn virtual_(
        group: &'static str,
        version: &'static str,
        resource: &'static str,
        kind: &'static str,
        verbs: &'static [Verb],
    ) -> Self {
        Self { sort: Sort::Virtual, verbs, ..Self::stored(group, version, resource, kind, "") }
    }

    /// What clients are told with every answer.
    pub fn deprecated(mut self, text: &'static str) -> Self {
        self.deprecation = Some(text.into());
        self
    }

    /// Written to etcd in JSON.
    pub fn stored_json(mut self) -> Self {
        self.stored_form = Form::Json;
        self
    }

    /// Written to etcd in another version.
    pub fn stored_as(mut self, version: &'static str) -> Self {
        self.stored_version = Some(version.into());
        self
    }

    /// Objects are not in namespaces.
    pub fn cluster(mut self) -> Self {
        self.namespaced = false;
        self
    }

    /// Short names.
    pub fn short(mut self, names: &'static [&'static str]) -> Self {
        self.short_names = names.iter().map(|n| Text::Borrowed(*n)).collect();
        self
    }

    /// Categories.
    pub fn categories(mut self, names: &'static [&'static str]) -> Self {
        self.categories = names.iter().map(|n| Text::Borrowed(*n)).collect();
        self
    }

    /// Writes count `metadata.generation`, as usual.
    pub fn generation(self) -> Self {
        self.counts(Generation::USUAL)
    }

    /// Writes count `metadata.generation`.
    pub fn counts(mut self, what: Generation) -> Self {
        self.generation = Some(what);
        self
    }

    /// A subresource whose bodies are of the resource's own kind (`status`, `finalize`, ...).
    pub fn part(self, name: &'static str) -> Self {
        let kind = self.kind();
        self.sub(name, kind, &[Verb::Get, Verb::Patch, Verb::Update])
    }

    /// A subresource with bodies of another kind.
    pub fn sub(mut self, name: &'static str, kind: GroupVersionKind, verbs: &'static [Verb]) -> Self {
        self.subresources.push(Subresource { name: name.into(), kind, verbs });
        self
    }

    /// A selectable field whose path is its name.
    pub fn select(self, name: &'static str) -> Self {
        self.select_as(name, name, "")
    }

    /// A selectable field with its path and its value where absent.
    pub fn select_as(mut self, name: &'static str, path: &'static str, absent: &'static str) -> Self {
        self.selectable.push(SelectableField { name: name.into(), path: path.into(), absent, fallback: "" });
        self
    }

    /// The last selectable field takes another's value where it is empty.
    pub fn or(mut self, fallback: &'static str) -> Self {
        if let Some(field) = self.selectable.last_mut() {
            field.fallback = fallback;
        }
        self
    }

    /// What names may be, where it is not a DNS subdomain.
    pub fn name_rule(mut self, rule: NameRule) -> Self {
        self.name_rule = rule;
        self
    }

    /// A PUT to a name that does not exist creates it.
    pub fn create_on_update(mut self) -> Self {
        self.create_on_update = true;
        self
    }

    /// An update needs a resourceVersion.
    pub fn conditional_update(mut self) -> Self {
        self.unconditional_update = false;
        self
    }

    /// A delete that ends at once answers with the object.
    pub fn returns_deleted(mut self) -> Self {
        self.returns_deleted = true;
        self
    }

    /// A write to that part (empty: the object itself) leaves these fields as they are.
    pub fn resetting(mut self, part: &'static str, fields: Resets) -> Self {
        self.resets.push((part.into(), fields));
        self
    }

    /// Objects expire.
    pub fn ttl_seconds(mut self, seconds: u64) -> Self {
        self.ttl_seconds = Some(seconds);
        self
    }

    /// What `kubectl get` shows.
    pub fn columns(mut self, columns: &'static str, cells: Cells) -> Self {
        self.columns = (columns, cells);
        self
    }

    /// The condition that an object's row of a Table carries.
    pub fn table_condition(mut self, condition: fn(&Value) -> Option<Value>) -> Self {
        self.table_condition = Some(condition);
        self
    }

    /// Group, version and kind of this row.
    pub fn kind(&self) -> GroupVersionKind {
        GroupVersionKind::new(self.group.as_ref(), self.version.as_ref(), self.kind.as_ref())
    }

    /// Group and kind, as faults name them: those of a cohabiting kind are of the group that stores it.
    pub fn group_kind(&self) -> GroupKind {
        let group = match &self.sort {
            Sort::Cohabiting { with } => with.group.as_str(),
            _ => self.group.as_ref(),
        };
        GroupKind::new(group, self.kind.as_ref())
    }

    /// Group, version and kind of lists.
    pub fn list_kind(&self) -> GroupVersionKind {
        GroupVersionKind::new(self.group.as_ref(), self.version.as_ref(), self.list_kind.as_ref())
    }

    /// Group and resource.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(self.group.as_ref(), self.resource.as_ref())
    }

    /// Group, version and resource.
    pub fn group_version_resource(&self) -> GroupVersionResource {
        GroupVersionResource::new(self.group.as_ref(), self.version.as_ref(), self.resource.as_ref())
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// What a write to the object or a part of it leaves as it is: status, or in a write to status the spec, unless the
    /// row says otherwise.
    pub fn resets(&self, subresource: Option<&str>) -> Resets {
        let part = subresource.unwrap_or_default();
        match self.resets.iter().find(|(name, _)| name == part) {
            Some((_, resets)) => *resets,
            None if part == "status" => Resets(&[&["spec"]]),
            None if part.is_empty() && self.has_status() => Resets(&[&["status"]]),
            None => Resets(&[]),
        }
    }

    /// The verbs that discovery shows.
    pub fn advertised(&self) -> &'static [Verb] {
        self.advertised.unwrap_or(self.verbs)
    }

    /// Whether the kind has a `status` that ordinary writes do not touch.
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }
}
