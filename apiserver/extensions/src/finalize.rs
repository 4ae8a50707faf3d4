//! Deletes the objects of a definition that is being deleted, and then lets the definition go. Follows
//! `apiextensions-apiserver/pkg/controller/finalizer/crd_finalizer.go`.

use std::sync::Arc;
use std::time::Duration;

use cache::{Entry, WatchCache};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use machinery::meta;
use machinery::status::StatusError;
use machinery::time::rfc3339;
use model::options::Delete;
use serde_json::Value;
use writes::strategy::Kind;
use writes::{Registry, delete};

use super::conditions::{self, Condition};
use super::controller::definitions;
use super::definition::{Definition, is_true};
use super::rows;
use super::strategy::CLEANUP;

/// Deletes under way at once.
const PARALLEL: usize = 16;
/// How long objects with finalizers are waited for before that is told and tried again.
const PATIENCE: Duration = Duration::from_secs(60);

const TERMINATING: &str = "Terminating";

/// Does it all; an error where objects are left, which the definition's status then tells.
pub async fn finalize(registry: &Registry, name: &str) -> Result<(), StatusError> {
    let progress =
        Condition::of(TERMINATING, "True", "InstanceDeletionInProgress", "CustomResource deletion is in progress");
    let Some(definition) = mark(registry, name, &progress, false).await? else { return Ok(()) };
    let outcome = if is_true(&definition, "Established") {
        instances(registry, &definition).await
    } else {
        Ok(Condition::of(TERMINATING, "False", "NeverEstablished", "resource was never established"))
    };
    match outcome {
        Ok(done) => mark(registry, name, &done, true).await.map(drop),
        Err((failure, error)) => {
            mark(registry, name, &failure, false).await?;
            Err(error)
        }
    }
}

/// Sets a condition, and takes the finalizer away at the end; nothing where the definition is held no longer.
async fn mark(
    registry: &Registry,
    name: &str,
    condition: &Condition,
    done: bool,
) -> Result<Option<Value>, StatusError> {
    let mut held = false;
    let now = rfc3339(Timestamp::now());
    let change = &mut |stored: &Value| {
        let mut definition = stored.clone();
        held = meta::deletion_timestamp(stored).is_some() && meta::finalizers(stored).any(|f| f == CLEANUP);
        if held {
            conditions::set(&mut definition, condition, &now);
        }
        if held && done {
            let left: Vec<&str> = meta::finalizers(stored).filter(|f| *f != CLEANUP).collect();
            definition["metadata"]["finalizers"] = left.into();
        }
        Ok(definition)
    };
    match registry.update_part(&definitions(), None, name, "status", change).await {
        Ok(updated) => Ok(held.then_some(updated)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

type Failure = (Condition, StatusError);

async fn instances(registry: &Registry, definition: &Value) -> Result<Condition, Failure> {
    let failed = |reason: &str, what: &str, error: StatusError| {
        (Condition::of(TERMINATING, "True", reason, &format!("{what}: {error}")), error)
    };
    let read = Definition::read(definition).map(Arc::new);
    let kind = read.as_ref().and_then(rows::stored);
    let Some((kind, cache)) = kind.and_then(|kind| registry.cache(&kind).map(|cache| (kind, cache))) else {
        let error = StatusError::internal("the resource is not served");
        return Err(failed("InstanceDeletionFailed", "could not list instances", error));
    };
    let listed = |error| failed("InstanceDeletionFailed", "could not list instances", error);
    registry.feed().caught_up().await.map_err(listed)?;
    let all: Vec<Arc<Entry>> = cache.snapshot().objects.values().cloned().collect();
    let mut deletes = stream::iter(all).map(|entry| remove(registry, &kind, entry)).buffer_unordered(PARALLEL);
    while let Some(outcome) = deletes.next().await {
        outcome.map_err(|error| failed("InstanceDeletionFailed", "could not issue all deletes", error))?;
    }
    if tokio::time::timeout(PATIENCE, emptied(&cache)).await.is_err() {
        let error = StatusError::internal("timed out waiting for the condition");
        return Err(failed("InstanceDeletionCheck", "could not confirm zero CustomResources remaining", error));
    }
    Ok(Condition::of(TERMINATING, "False", "InstanceDeletionCompleted", "removed all instances"))
}

async fn remove(registry: &Registry, kind: &Kind, entry: Arc<Entry>) -> Result<(), StatusError> {
    let namespace = if kind.namespaced { entry.namespace() } else { None };
    match delete::delete(&registry.context(kind, namespace), entry.name(), &Delete::default()).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// Ends when there are no objects.
async fn emptied(cache: &Arc<WatchCache>) {
    loop {
        let Ok(mut watcher) = cache.watch(cache.generation()) else { continue };
        if cache.is_empty() {
            return;
        }
        let _ = watcher.next().await;
    }
}
