//! A store made of a snapshot, while no server runs: an embedded one in a new data directory, or an etcd that is empty.
//!
//! Only the API server knows stores and how objects are in them: a snapshot from etcd has protobuf where the embedded store has
//! JSON, and the other way round. What cannot be read (another server encrypted it) stays as it is, and is counted.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use model::resource::{Resource, Sort};
use serde_json::Value;
use snapshots::{Object, Reader};
use storage::{Expect, KeyValue, Outcome, RangeOptions, Storage};
use writes::strategy::Kind;

const ROOT: &str = "/registry/";
const VOLUMES: &str = "persistentvolumes";
/// Writes to etcd under way at a time.
const AT_A_TIME: usize = 64;
/// At least so many revisions lie between a snapshot and what an etcd gives out afterwards.
const RISE: i64 = 10_000;
/// An etcd is raised by writing; by more than this it would take minutes.
const RISE_MOST: i64 = 2_000_000;
/// The key that is written for that.
const RISE_KEY: &str = "/ferry/restored";

/// What has become of a snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Keys that are in the store now.
    pub keys: u64,
    /// Keys whose time had come.
    pub expired: u64,
    /// Keys whose values could not be read, and are as they were.
    pub unreadable: u64,
    /// The store's revision now.
    pub revision: i64,
}

/// Where the folders of local volumes were, and where they are now.
#[derive(Debug, Clone)]
pub struct Moved {
    /// As it stands in the volumes.
    pub from: String,
    /// As it will.
    pub to: String,
}

/// Where an etcd is.
#[derive(Debug, Clone, Default)]
pub struct Etcd {
    /// Its servers.
    pub servers: Vec<String>,
    /// The authority of their certificates.
    pub ca_file: Option<PathBuf>,
    /// Who asks.
    pub cert_file: Option<PathBuf>,
    /// With that key.
    pub key_file: Option<PathBuf>,
}

/// Writes a snapshot's objects as the embedded store of a data directory which has none: keys and revisions as they were, and
/// the store's revision `rise` above the snapshot's. Clients that have seen more of the lost store than the snapshot did are
/// so told that what they know is gone, instead of missing what happens next. (etcd's `--bump-revision --mark-compacted`.)
///
/// # Errors
/// There is a store, the snapshot is damaged, or the disk fails; then there is no store afterwards.
pub fn into_directory<R: Read>(
    reader: &mut Reader<R>,
    data_dir: &Path,
    rise: i64,
    moved: Option<&Moved>,
) -> anyhow::Result<Restored> {
    let canonical = reader.header().canonical;
    let revision = reader.header().revision.checked_add(rise.max(0)).context("the revision would be too high")?;
    let forms = Forms::new();
    let mut restored = Restored { revision, ..Restored::default() };
    let mut fault = None;
    let entries = reader.objects().map_while(|object| match object {
        Ok(object) => {
            let value = match canonical {
                true => object.value.clone(),
                false => forms.canonical(&object, &mut restored.unreadable),
            };
            let value = moved.and_then(|moved| forms.moved(&object.key, &value, moved)).unwrap_or(value);
            restored.keys += 1;
            let Object { key, mod_revision, create_revision, version, expires, .. } = object;
            Some(Ok(KeyValue { key: key.into(), value, mod_revision, create_revision, version, lease: expires }))
        }
        Err(error) => {
            fault = Some(error);
            // The import must not believe that this was all.
            Some(Err(storage::Error::Closed))
        }
    });
    let imported = storage::import_directory(&data_dir.join("store"), revision, entries);
    match (fault, imported) {
        (Some(fault), _) => Err(fault.into()),
        (None, imported) => imported.map(|()| restored).map_err(Into::into),
    }
}

/// Writes a snapshot's objects to an etcd that has none. It gives them revisions of its own; they are raised above the
/// snapshot's as far as that can be done by writing.
///
/// # Errors
/// There are objects, the snapshot is damaged, or etcd does not answer. What was written by then is there.
pub async fn into_etcd<R: Read>(reader: &mut Reader<R>, etcd: Etcd, moved: Option<&Moved>) -> anyhow::Result<Restored> {
    let (canonical, wanted) = (reader.header().canonical, reader.header().revision + RISE);
    let Etcd { servers, ca_file, cert_file, key_file } = etcd;
    let config = storage::EtcdConfig { ca_file, cert_file, key_file, ..storage::EtcdConfig::new(servers) };
    let store = storage::EtcdStore::connect(config).await.context("connecting to etcd")?;
    let there = store.range(ROOT, RangeOptions { limit: 1, keys_only: true, ..RangeOptions::default() }).await?;
    if let Some(first) = there.kvs.first() {
        bail!("there is a cluster in this etcd already ({}); it is not written over", first.key);
    }
    let (forms, now) = (Forms::new(), Timestamp::now().as_second());
    let mut restored = Restored::default();
    rise(&store, wanted).await?;
    let mut failed = None;
    let entries = reader.objects().map_while(|object| object.map_err(|error| failed = Some(error)).ok());
    let mut entries = entries.filter_map(|object| {
        let left = (object.expires != 0).then(|| object.expires - now);
        if left.is_some_and(|left| left <= 0) {
            restored.expired += 1;
            return None;
        }
        let value =
            moved.and_then(|moved| forms.moved(&object.key, &object.value, moved)).unwrap_or(object.value.clone());
        let value = if canonical { forms.stored(&object.key, value) } else { value };
        restored.keys += 1;
        Some((object.key, value, left.and_then(|left| u64::try_from(left).ok())))
    });
    loop {
        let some: Vec<_> = entries.by_ref().take(AT_A_TIME * 16).collect();
        if some.is_empty() {
            break;
        }
        let puts = some.into_iter().map(|(key, value, ttl)| {
            let store = &store;
            async move {
                match store.put(&key, value, Expect::Absent, ttl).await {
                    Ok(Outcome::Done { .. }) => Ok(()),
                    Ok(Outcome::Conflict { .. }) => bail!("somebody else writes to this etcd: {key} is there"),
                    Err(error) => Err(error).context(key),
                }
            }
        });
        stream::iter(puts).buffer_unordered(AT_A_TIME).try_collect::<()>().await?;
    }
    drop(entries);
    if let Some(error) = failed {
        return Err(error.into());
    }
    restored.revision = store.revision().await?;
    Ok(restored)
}

/// Writes until the revision is so high, and forgets what was written for that.
async fn rise(store: &impl Storage, wanted: i64) -> anyhow::Result<()> {
    let mut revision = store.revision().await?;
    if wanted - revision > RISE_MOST {
        bail!(
            "this etcd is at revision {revision} and the snapshot needs {wanted}: restore an empty etcd with \
             `etcdutl snapshot restore --bump-revision {wanted} --mark-compacted` first"
        );
    }
    // Several at a time: each is a key of its own.
    let lanes = usize::try_from((wanted - revision).max(0)).unwrap_or(0).min(AT_A_TIME);
    if lanes == 0 {
        return Ok(());
    }
    let each = (wanted - revision) / lanes as i64 + 1;
    let lane = |lane: usize| async move {
        let key = format!("{RISE_KEY}/{lane}");
        let mut expect = match store.get(&key).await?.0 {
            Some(kv) => Expect::ModRevision(kv.mod_revision),
            None => Expect::Absent,
        };
        let mut last = 0;
        for _ in 0..each {
            let Outcome::Done { revision } = store.put(&key, Bytes::from_static(b"x"), expect, None).await? else {
                bail!("somebody else writes to this etcd: {key} has changed")
            };
            (expect, last) = (Expect::ModRevision(revision), revision);
        }
        store.delete(&key, last).await?;
        Ok(())
    };
    stream::iter((0..lanes).map(lane)).buffer_unordered(lanes).try_collect::<()>().await?;
    revision = store.revision().await?;
    store.compact(revision).await?;
    Ok(())
}

/// How objects are in each sort of store.
pub struct Forms {
    rows: HashMap<String, Kind>,
    shared: cache::Values,
}

impl Default for Forms {
    fn default() -> Self {
        Self::new()
    }
}

impl Forms {
    /// Those of the built-in kinds; others are JSON everywhere.
    pub fn new() -> Self {
        let prefix = |kind: &Kind| match &kind.row.sort {
            Sort::Stored { prefix } => Some(prefix.to_string()),
            _ => None,
        };
        let rows = kinds::catalogue::rows().into_iter().filter_map(|kind| Some((prefix(&kind)?, kind)));
        Self { rows: rows.collect(), shared: cache::Values::new(true) }
    }

    /// The row of a key: prefixes have one segment or two.
    fn row(&self, key: &str) -> Option<&Resource> {
        let key = key.strip_prefix(ROOT)?;
        let first = key.find('/')?;
        let second = key[first + 1..].find('/').map(|at| first + 1 + at);
        let row = self.rows.get(&key[..first]).or_else(|| self.rows.get(&key[..second?]));
        row.map(|kind| &*kind.row)
    }

    /// The object in a snapshot, as a client would see it, with the resourceVersion that it had.
    ///
    /// # Errors
    /// Why its bytes are no object.
    pub fn object(&self, object: &Object) -> Result<Value, String> {
        let bytes = match self.row(&object.key) {
            Some(row) => model::encoding::canonicalise(row, &object.value)?,
            None => object.value.clone(),
        };
        let mut value: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        match value.get_mut("metadata").and_then(Value::as_object_mut) {
            Some(metadata) => drop(metadata.insert("resourceVersion".into(), object.mod_revision.to_string().into())),
            None => return Err("it has no metadata".into()),
        }
        Ok(value)
    }

    /// A value from etcd as the embedded store has it.
    fn canonical(&self, object: &Object, unreadable: &mut u64) -> Bytes {
        let Some(row) = self.row(&object.key) else { return object.value.clone() };
        model::encoding::canonicalise(row, &object.value).unwrap_or_else(|error| {
            tracing::warn!(key = object.key, error, "a value cannot be read, and stays as it is");
            *unreadable += 1;
            object.value.clone()
        })
    }

    /// A value of the embedded store as etcd has it.
    fn stored(&self, key: &str, value: Bytes) -> Bytes {
        match self.row(key) {
            Some(row) => self.shared.write(row, &value, None),
            None => value,
        }
    }

    /// A volume whose folder is in another place now; `None` for everything else.
    fn moved(&self, key: &str, value: &Bytes, moved: &Moved) -> Option<Bytes> {
        if !key.strip_prefix(ROOT)?.strip_prefix(VOLUMES)?.starts_with('/') {
            return None;
        }
        let row = self.row(key)?;
        let canonical = model::encoding::canonicalise(row, value).ok()?;
        let mut volume: Value = serde_json::from_slice(&canonical).ok()?;
        let path = volume["spec"]["local"]["path"].as_str()?;
        let below = Path::new(path).strip_prefix(&moved.from).ok()?;
        let path = Path::new(&moved.to).join(below).display().to_string();
        volume["spec"]["local"]["path"] = path.into();
        Some(model::encoding::encode(&volume, &row.storage_version))
    }
}
