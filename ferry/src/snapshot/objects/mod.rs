//! A namespace, or single objects, brought back as they were, through the API of a cluster that runs.
//!
//! What is to be done is decided by pure functions: which objects are meant and which are left to their controllers (`left`),
//! what of an object can be brought back (`clean`), in which order (`order`), and what is different (`differences`). `live` is
//! the API, and here they come together. An object's old UID cannot be had again: owners come first, and references to them
//! get the UIDs that they have now.

mod clean;
mod differences;
mod left;
mod live;
mod order;
mod wanted;

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, bail};
use component::supervisor::blocking;
use machinery::meta;
use serde_json::Value;
use snapshots::{Reader, Secret, verify};

use super::restore::Restore;
use clean::Owner;
use live::{Api, Kind};
use wanted::{Filter, Object};

/// What was done, or would be.
#[derive(Debug, Default)]
struct Counts {
    created: usize,
    changed: usize,
    unchanged: usize,
    left: usize,
    failed: usize,
}

/// `ferry snapshot restore --namespace` and `--resource`.
pub async fn restore(flags: &Restore, file: &Path, secret: Option<&Secret>) -> anyhow::Result<()> {
    let filter = Filter::of(flags.namespace.as_deref(), &flags.resource)?;
    let (path, secret, meant) = (file.to_owned(), secret.cloned(), filter.clone());
    let objects = blocking("reading a snapshot", move || read(&path, secret.as_ref(), &meant)).await??;
    let mut api = Api::new(flags.cluster.client(&flags.place.data_dir)?, flags.dry_run);
    api.discover(objects.iter().flat_map(|object| live::needed(&object.value))).await?;
    let namespace = objects.iter().find(|object| meta::kind(&object.value) == "Namespace").cloned();
    let mut objects = wanted::chosen(objects, &filter, &api)?;
    // A single object in a namespace that is gone needs that first.
    if let Some(namespace) = namespace.filter(|_| filter.names_some())
        && api.get(&Kind::namespaces(), "", meta::name(&namespace.value)).await?.is_none()
    {
        objects.push(namespace);
    }
    order::sort(&mut objects);
    let (mut uids, mut counts) = (HashMap::new(), Counts::default());
    if let Some(namespace) = &filter.namespace {
        not_terminating(&api, namespace).await?;
    }
    for object in &objects {
        one(&api, object, &mut uids, &mut counts, filter.is_named(object, &api)).await;
    }
    let Counts { created, changed, unchanged, left, failed } = counts;
    let dry = if flags.dry_run { " (dry run)" } else { "" };
    println!(
        "{created} created, {changed} changed, {unchanged} unchanged, {left} left to others, {failed} failed{dry}"
    );
    if failed > 0 {
        bail!("{failed} of {} could not be brought back", objects.len());
    }
    Ok(())
}

/// The objects that can be meant. The whole file is verified before any of it is believed.
fn read(file: &Path, secret: Option<&Secret>, filter: &Filter) -> anyhow::Result<Vec<Object>> {
    let open = || File::open(file).with_context(|| file.display().to_string());
    let known = verify(open()?, secret).with_context(|| file.display().to_string())?;
    if known.totals.is_none() {
        bail!("{} is encrypted: give --key-file or --passphrase-file", file.display());
    }
    let mut reader = Reader::open(open()?)?;
    reader.unlock(secret)?;
    let forms = apiserver::restore::Forms::new();
    let mut objects = Vec::new();
    for object in reader.objects() {
        let object = object?;
        if !filter.can_be(&object.key) {
            continue;
        }
        match forms.object(&object) {
            Ok(value) if filter.is_in(&value) => objects.push(Object { key: object.key, value }),
            Ok(_) => {}
            Err(why) => eprintln!("warning: {} cannot be read and is left out: {why}", object.key),
        }
    }
    Ok(objects)
}

/// Nothing can be made in a namespace that is going.
async fn not_terminating(api: &Api, name: &str) -> anyhow::Result<()> {
    let kind = Kind::namespaces();
    let there = api.get(&kind, "", name).await?;
    if there.is_some_and(|namespace| meta::deletion_timestamp(&namespace).is_some()) {
        bail!("the namespace {name} is being deleted: wait for its end (kubectl wait --for=delete namespace/{name})");
    }
    Ok(())
}

/// Brings back one object, and says what was done.
async fn one(api: &Api, object: &Object, uids: &mut HashMap<String, String>, counts: &mut Counts, named: bool) {
    let value = &object.value;
    let gvk = meta::gvk(value);
    let told = api.told(&gvk, meta::name(value));
    let dry = if api.is_dry() { " (dry run)" } else { "" };
    if let Some(why) = left::why(value, named) {
        println!("{told} left: {why}");
        counts.left += 1;
        return;
    }
    let Some(kind) = api.kind(&gvk) else {
        println!("{told} failed: the cluster serves no {} of {}", gvk.kind, meta::api_version(value));
        counts.failed += 1;
        return;
    };
    let outcome = bring_back(api, kind, value, uids).await;
    match outcome {
        Ok(Done::Created(notes)) => {
            println!("{told} created{dry}");
            notes.iter().for_each(|note| println!("  {note}"));
            counts.created += 1;
        }
        Ok(Done::Changed(differences)) => {
            println!("{told} configured{dry}");
            differences.iter().for_each(|difference| println!("  {difference}"));
            counts.changed += 1;
        }
        Ok(Done::Unchanged) => {
            println!("{told} unchanged{dry}");
            counts.unchanged += 1;
        }
        Err(error) => {
            println!("{told} failed: {error:#}");
            counts.failed += 1;
        }
    }
}

/// What has become of an object.
enum Done {
    /// It was not there; with what is not as it was.
    Created(Vec<String>),
    /// It was there, and different.
    Changed(Vec<String>),
    Unchanged,
}

async fn bring_back(api: &Api, kind: &Kind, value: &Value, uids: &mut HashMap<String, String>) -> anyhow::Result<Done> {
    let mut owners = HashMap::new();
    for reference in clean::owners(value) {
        let now = match uids.get(&reference.uid) {
            Some(uid) => Owner::Is(uid.clone()),
            None => api.owner(&reference, meta::namespace(value)).await?,
        };
        owners.insert(reference.uid, now);
    }
    let (mut wanted, mut notes) = clean::clean(value, &owners, kind.has_status);
    let (namespace, name) = (meta::namespace(value), meta::name(value));
    if let Some(live) = api.get(kind, namespace, name).await? {
        return change(api, kind, value, &wanted, live, uids).await;
    }
    if let Some(note) = api.volume(&mut wanted).await? {
        notes.push(note);
    }
    if api.is_dry() {
        uids.insert(meta::uid(value).to_owned(), meta::uid(value).to_owned());
        return Ok(Done::Created(notes));
    }
    match api.create(kind, namespace, &wanted).await {
        Ok(made) => {
            uids.insert(meta::uid(value).to_owned(), meta::uid(&made).to_owned());
            if let Some(managers) = clean::managers(value) {
                api.managed_by(kind, &made, managers).await?;
            }
            Ok(Done::Created(notes))
        }
        // A controller was quicker: the account `default` of a new namespace.
        Err(error) if live::is(&error, 409) => match api.get(kind, namespace, name).await? {
            Some(live) => change(api, kind, value, &wanted, live, uids).await,
            None => Err(error),
        },
        // Somebody else has its address or port.
        Err(error) if live::is(&error, 422) => match clean::without_addresses(&wanted) {
            Some((wanted, note)) => {
                let made = api.create(kind, namespace, &wanted).await?;
                uids.insert(meta::uid(value).to_owned(), meta::uid(&made).to_owned());
                notes.push(format!("{note}: {error:#}"));
                Ok(Done::Created(notes))
            }
            None => Err(error),
        },
        Err(error) => Err(error),
    }
}

async fn change(
    api: &Api,
    kind: &Kind,
    value: &Value,
    wanted: &Value,
    live: Value,
    uids: &mut HashMap<String, String>,
) -> anyhow::Result<Done> {
    uids.insert(meta::uid(value).to_owned(), meta::uid(&live).to_owned());
    if meta::deletion_timestamp(&live).is_some() {
        bail!("it is being deleted: wait for its end");
    }
    let wanted = clean::onto(wanted, &live, kind.has_status);
    let differences =
        differences::between(&clean::comparable(&live, kind.has_status), &clean::comparable(&wanted, kind.has_status));
    if differences.is_empty() {
        return Ok(Done::Unchanged);
    }
    if !api.is_dry() {
        api.replace(kind, &wanted).await?;
    }
    Ok(Done::Changed(differences))
}
