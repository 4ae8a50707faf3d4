//! The registry: every resource's row and cache, and the one place where other parts of the server read and write
//! objects. What it reads comes from the caches; what it writes passes the same steps as a client's write.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use cache::{Feed, Values, WatchCache};
use jiff::Timestamp;
use machinery::gvk::GroupResource;
use machinery::status::StatusError;
use model::encoding::Encoding;
use model::lookup::Lookup;
use model::options::{Delete, Write};
use model::resource::{Resource, Sort};
use model::user::{MASTERS, UserInfo};
use serde_json::Value;
use storage::Storage;

use crate::admission::Chain;
use crate::strategy::{Kind, WriteContext};
use crate::{create, delete, update};

/// Rows, found by what a path says and by what a strategy names.
#[derive(Default, Clone)]
pub struct Rows {
    all: Vec<Kind>,
    /// Where each is in `all`, in the order of their paths.
    by_path: Vec<usize>,
    by_resource: HashMap<GroupResource, usize>,
}

/// What rows have at a path.
pub enum Place<'a> {
    /// The group's version is not among them.
    Elsewhere,
    /// The group's version is theirs, and has no such resource.
    Nothing,
    /// A row.
    Row(&'a Kind),
}

impl Rows {
    /// Indexes rows; the first of several versions of a resource is the preferred one, the first of several at a path is it.
    pub fn new(rows: impl IntoIterator<Item = Kind>) -> Self {
        let all: Vec<Kind> = rows.into_iter().collect();
        let mut by_path: Vec<usize> = (0..all.len()).collect();
        by_path.sort_by_key(|at| path(&all[*at]));
        by_path.dedup_by_key(|at| path(&all[*at]));
        let mut by_resource = HashMap::new();
        for (at, row) in all.iter().enumerate() {
            by_resource.entry(row.group_resource()).or_insert(at);
        }
        Self { all, by_path, by_resource }
    }

    /// All rows, in the catalogue's order.
    pub fn all(&self) -> &[Kind] {
        &self.all
    }

    /// The same, one by one.
    pub fn iter(&self) -> impl Iterator<Item = &Kind> {
        self.all.iter()
    }

    /// The rows of a group's version, in the catalogue's order.
    pub fn of_version<'a>(&'a self, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Kind> {
        self.all.iter().filter(move |row| row.group == group && row.version == version)
    }

    /// What serves a path.
    pub fn at_path(&self, group: &str, version: &str, resource: &str) -> Place<'_> {
        let row = |at: &usize| &self.all[*at];
        match self.by_path.binary_search_by(|at| path(row(at)).cmp(&(group, version, resource))) {
            Ok(found) => Place::Row(row(&self.by_path[found])),
            Err(between) => {
                let mut beside = self.by_path[between.saturating_sub(1)..].iter().take(2);
                let theirs = beside.any(|at| row(at).group == group && row(at).version == version);
                if theirs { Place::Nothing } else { Place::Elsewhere }
            }
        }
    }

    /// The preferred row of a resource.
    pub fn of(&self, resource: &GroupResource) -> Option<&Kind> {
        self.by_resource.get(resource).map(|at| &self.all[*at])
    }
}

fn path(row: &Kind) -> (&str, &str, &str) {
    (&row.group, &row.version, &row.resource)
}

/// Rows that come and go: those of custom resources.
pub type Changing = Arc<ArcSwap<Rows>>;

/// What is served now: the catalogue, and custom resources. Of two rows of a resource the catalogue's is it.
pub struct Served {
    built_in: Arc<Rows>,
    custom: Arc<Rows>,
}

impl Served {
    /// All rows.
    pub fn iter(&self) -> impl Iterator<Item = &Kind> {
        self.built_in.iter().chain(self.custom.iter())
    }

    /// The preferred row of a resource.
    pub fn of(&self, resource: &GroupResource) -> Option<&Kind> {
        self.built_in.of(resource).or_else(|| self.custom.of(resource))
    }
}

/// All resources of the server.
pub struct Registry {
    built_in: Arc<Rows>,
    custom: Changing,
    feed: Feed,
    storage: Arc<dyn Storage>,
    values: Arc<Values>,
    admission: OnceLock<Chain>,
    system: UserInfo,
}

impl Registry {
    /// A registry over a store whose feed runs. Admission is set once, later: its plugins read the registry.
    pub fn new(rows: Rows, feed: Feed, storage: Arc<dyn Storage>, values: Arc<Values>) -> Self {
        let system = UserInfo { name: "system:apiserver".into(), groups: vec![MASTERS.into()], ..UserInfo::default() };
        Self {
            built_in: Arc::new(rows),
            custom: Changing::default(),
            feed,
            storage,
            values,
            admission: OnceLock::new(),
            system,
        }
    }

    /// Sets the admission chain; the first call wins.
    pub fn set_admission(&self, chain: Chain) {
        let _ = self.admission.set(chain);
    }

    /// The admission chain.
    pub fn admission(&self) -> &Chain {
        self.admission.get_or_init(Chain::default)
    }

    /// What is served now: the catalogue, and custom resources. One request works with one state of it.
    pub fn rows(&self) -> Served {
        Served { built_in: self.built_in.clone(), custom: self.custom.load_full() }
    }

    /// The catalogue's rows.
    pub fn built_in(&self) -> &Arc<Rows> {
        &self.built_in
    }

    /// The rows of custom resources.
    pub fn custom(&self) -> &Changing {
        &self.custom
    }

    /// Replaces the custom resources that are served: of several versions of one the preferred one comes first. Their
    /// caches are in the feed already.
    pub fn serve_custom(&self, custom: impl IntoIterator<Item = Kind>) {
        self.custom.store(Arc::new(Rows::new(custom)));
    }

    /// The feed of the caches.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// The store. Only `store.rs` and the allocators of strategies have business with it.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// How objects are in the store.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The row whose store keeps a row's objects: itself, or the built-in one it cohabits with.
    pub fn storing<'a>(&'a self, row: &'a Resource) -> &'a Resource {
        match &row.sort {
            Sort::Cohabiting { with } => self.built_in.of(with).map_or(row, |kind| &kind.row),
            _ => row,
        }
    }

    /// The cache of a row's objects; `None` for virtual rows.
    pub fn cache(&self, row: &Resource) -> Option<Arc<WatchCache>> {
        match &self.storing(row).sort {
            Sort::Stored { prefix } => self.feed.cache(prefix),
            _ => None,
        }
    }

    fn cache_of(&self, resource: &GroupResource) -> Option<Arc<WatchCache>> {
        match self.built_in.of(resource) {
            Some(row) => self.cache(row),
            None => self.custom.load().of(resource).and_then(|row| self.cache(row)),
        }
    }

    /// The object as the cache has it now, with resourceVersion; `None` where there is none. Never waits. The decoded
    /// value is kept with the cache entry: for objects the server reads often.
    pub fn get(&self, resource: &GroupResource, namespace: Option<&str>, name: &str) -> Option<Arc<Value>> {
        Some(self.cache_of(resource)?.get(&model::store::key(namespace, name))?.value())
    }

    /// The object after the cache has caught up with the store: for decisions that must not miss a write that was
    /// acknowledged before (a namespace just made).
    pub async fn get_consistent(
        &self,
        resource: &GroupResource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Arc<Value>>, StatusError> {
        self.feed.caught_up().await?;
        Ok(self.get(resource, namespace, name))
    }

    /// All objects of a resource (in a namespace), decoded. For small resources (roles, priority classes, namespaces).
    pub fn list(&self, resource: &GroupResource, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let Some(cache) = self.cache_of(resource) else { return Vec::new() };
        cache.snapshot().range(namespace, None).map(|entry| entry.value()).collect()
    }

    /// A part of a resource's objects as they were at a revision: from after the key `after` on, about `most` of them. 410
    /// where the store has been compacted past it.
    pub async fn past(
        &self,
        row: &Resource,
        namespace: Option<&str>,
        revision: i64,
        after: Option<&str>,
        most: usize,
    ) -> Result<cache::Past, StatusError> {
        let Sort::Stored { prefix } = &self.storing(row).sort else {
            return Err(StatusError::method_not_supported(&row.group_resource(), "list"));
        };
        self.feed.past(prefix, namespace, revision, after, most).await.map_err(model::store::too_old)
    }

    /// 410 where the store has been compacted past a revision.
    pub async fn kept(&self, revision: i64) -> Result<(), StatusError> {
        self.feed.kept(revision).await.map_err(model::store::too_old)
    }

    /// A number that changes whenever any object of the resource changes: what an index built from `list` compares.
    pub fn generation(&self, resource: &GroupResource) -> i64 {
        self.cache_of(resource).map_or(0, |cache| cache.generation())
    }

    /// Creates an object inside the server (bootstrap, allocations): the same path as a request of a privileged caller
    /// from defaulting on. AlreadyExists and Invalid as a client would see them.
    pub async fn create(
        &self,
        resource: &GroupResource,
        namespace: Option<&str>,
        mut obj: Value,
    ) -> Result<Value, StatusError> {
        let row = self.row(resource)?;
        row.types.default(&row.kind(), &mut obj);
        let entry = create::create(&self.context(&row, namespace), obj, &Write::own()).await?;
        Ok(entry.decode())
    }

    /// Changes an object inside the server, compare-and-swap with retries: `change` gets the stored object and returns
    /// the new one (unchanged: nothing is written).
    pub async fn update(
        &self,
        resource: &GroupResource,
        namespace: Option<&str>,
        name: &str,
        change: &mut (dyn for<'v> FnMut(&'v Value) -> Result<Value, StatusError> + Send),
    ) -> Result<Value, StatusError> {
        self.update_part(resource, namespace, name, "", change).await
    }

    /// The same for a part of an object (`status`).
    pub async fn update_part(
        &self,
        resource: &GroupResource,
        namespace: Option<&str>,
        name: &str,
        part: &str,
        change: &mut (dyn for<'v> FnMut(&'v Value) -> Result<Value, StatusError> + Send),
    ) -> Result<Value, StatusError> {
        let row = self.row(resource)?;
        let cx = WriteContext { subresource: (!part.is_empty()).then_some(part), ..self.context(&row, namespace) };
        let updated = update::update(&cx, name, &Write::own(), change).await?;
        Ok(updated.entry.decode())
    }

    /// Deletes an object inside the server at once; NotFound as a client would see it.
    pub async fn delete(
        &self,
        resource: &GroupResource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<(), StatusError> {
        let row = self.row(resource)?;
        let options = Delete { grace_period_seconds: Some(0), ..Delete::default() };
        delete::delete(&self.context(&row, namespace), name, &options).await.map(drop)
    }

    fn row(&self, resource: &GroupResource) -> Result<Kind, StatusError> {
        self.rows().of(resource).cloned().ok_or_else(|| StatusError::not_found(resource, ""))
    }

    /// The context of a write by the server itself.
    pub fn context<'a>(&'a self, row: &'a Kind, namespace: Option<&'a str>) -> WriteContext<'a> {
        WriteContext {
            resource: row,
            subresource: None,
            namespace,
            user: &self.system,
            now: Timestamp::now(),
            dry_run: false,
            answer: Encoding::Json,
            abandoned: None,
            record: None,
            registry: self,
        }
    }
}

#[async_trait]
impl Lookup for Registry {
    fn get(&self, resource: &GroupResource, namespace: Option<&str>, name: &str) -> Option<Arc<Value>> {
        Registry::get(self, resource, namespace, name)
    }

    async fn get_fresh(&self, resource: &GroupResource, namespace: Option<&str>, name: &str) -> Option<Arc<Value>> {
        self.get_consistent(resource, namespace, name).await.ok().flatten()
    }

    fn list(&self, resource: &GroupResource, namespace: Option<&str>) -> Vec<Arc<Value>> {
        Registry::list(self, resource, namespace)
    }

    fn generation(&self, resource: &GroupResource) -> i64 {
        Registry::generation(self, resource)
    }
}
