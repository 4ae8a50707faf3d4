//! List: a snapshot of the cache, filtered by what the entries carry and copied out (`pieces.rs`) without a lock.
//! Continue tokens are upstream's.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use http::{Response, StatusCode};
use machinery::status::StatusError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::pieces::Pieces;
use super::respond::Copied;
use super::{Call, respond};
use crate::cache::{Entry, Snapshot};
use crate::negotiation::{self, Body, Form};
use crate::registry::catalogue::Resource;
use crate::registry::options::{List, ReadAt};
use crate::registry::selection::Selection;

/// The page that a list request is answered with.
pub(super) struct Selected {
    pub entries: Vec<Arc<Entry>>,
    pub revision: i64,
    /// Where the next page begins.
    pub next: Option<String>,
    /// How many are left after this page, where that is known.
    pub remaining: Option<u64>,
}

pub(super) async fn handle(call: Call, row: &Arc<Resource>) -> Result<Response<Body>, StatusError> {
    let accept = call.accept(&row.kind())?;
    respond::check_form(&call, row, &accept, true)?;
    let options = List::parse(&call.info.query, false)?;
    let page = select(&call, row, &options).await?;
    let mut metadata = json!({ "resourceVersion": page.revision.to_string() });
    if let Some(next) = &page.next {
        metadata["continue"] = next.as_str().into();
        if let Some(remaining) = page.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    let registry = &call.server.registry;
    if let Some(copied) = Copied::of(&accept, registry.storing(row).storage_version == row.kind())
        && let Some(pieces) = Pieces::new(row, copied, &metadata, &page.entries).await
    {
        return Ok(pieces.response(page.entries, &accept));
    }
    let objects: Vec<Value> = page.entries.iter().map(|entry| respond::value(registry, row, entry)).collect();
    let (answer, kind) = match accept.form {
        Form::Table => (respond::table(&call, row, objects, metadata, &accept), respond::meta_kind("Table", &accept)),
        Form::Metadata | Form::MetadataList => {
            let items: Vec<Value> = objects.iter().map(|o| respond::partial(o, &accept)).collect();
            let kind = respond::meta_kind("PartialObjectMetadataList", &accept);
            let version = format!("meta.k8s.io/{}", accept.form_version);
            (json!({ "kind": kind.kind, "apiVersion": version, "metadata": metadata, "items": items }), kind)
        }
        Form::Plain => {
            let kind = row.list_kind();
            let custom = row.types.custom().is_some();
            if custom && metadata.get("continue").is_none() {
                metadata["continue"] = "".into();
            }
            let items: Vec<Value> = objects.into_iter().map(|o| if custom { o } else { without_kind(o) }).collect();
            (json!({ "kind": kind.kind, "apiVersion": row.api_version(), "metadata": metadata, "items": items }), kind)
        }
    };
    Ok(negotiation::value_response(StatusCode::OK, &answer, &kind, &accept))
}

fn without_kind(mut object: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.remove("kind");
        members.remove("apiVersion");
    }
    object
}

/// The entries that a list (or the delete of a collection) is about.
pub(super) async fn select(call: &Call, row: &Resource, options: &List) -> Result<Selected, StatusError> {
    let registry = &call.server.registry;
    let cache = registry.cache(row).ok_or_else(super::no_such_path)?;
    let selection = Selection::new(registry.storing(row), options)?;
    let expired = |e: crate::cache::Expired| StatusError::expired(e.to_string());
    let (snapshot, start) = match &options.continue_token {
        Some(token) => {
            let token = Token::decode(token)?;
            let snapshot = if token.rv > 0 {
                cache.snapshot_at(token.rv).map_err(|_| expired_token(&token, cache.snapshot().revision))?
            } else {
                registry.feed().caught_up().await?;
                cache.snapshot()
            };
            (snapshot, Some(token.start))
        }
        None => {
            let snapshot = match options.at {
                ReadAt::Any => cache.snapshot(),
                ReadAt::MostRecent => {
                    registry.feed().caught_up().await?;
                    cache.snapshot()
                }
                ReadAt::NotOlderThan(revision) => {
                    registry.feed().reached(revision).await?;
                    cache.snapshot()
                }
                ReadAt::Exact(revision) => {
                    registry.feed().reached(revision).await?;
                    cache.snapshot_at(revision).map_err(expired)?
                }
            };
            (snapshot, None)
        }
    };
    Ok(page(&snapshot, call.namespace(), start.as_deref(), &selection, options.limit))
}

fn page(
    snapshot: &Snapshot,
    namespace: Option<&str>,
    start: Option<&str>,
    selection: &Selection,
    limit: usize,
) -> Selected {
    let mut matching = snapshot.range(namespace, start).filter(|entry| selection.matches(entry));
    if limit == 0 {
        return Selected {
            entries: matching.cloned().collect(),
            revision: snapshot.revision,
            next: None,
            remaining: None,
        };
    }
    let entries: Vec<Arc<Entry>> = matching.by_ref().take(limit).cloned().collect();
    let more = matching.next().is_some();
    let next = entries.last().filter(|_| more).map(|last| Token::after(snapshot.revision, &last.key));
    // Upstream does not count what selectors would leave out.
    let remaining = (more && selection.is_everything()).then(|| 1 + matching.count() as u64);
    Selected { entries, revision: snapshot.revision, next, remaining }
}

/// Upstream's continue token: base64 of JSON.
#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    #[serde(default)]
    rv: i64,
    start: String,
}

impl Token {
    fn after(revision: i64, key: &str) -> String {
        let token = Self { v: "meta.k8s.io/v1".into(), rv: revision, start: format!("{key}\0") };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a token is always encodable"))
    }

    fn decode(text: &str) -> Result<Self, StatusError> {
        let bad = |why: &str| StatusError::bad_request(format!("continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .or_else(|_| URL_SAFE.decode(text))
            .or_else(|_| STANDARD_NO_PAD.decode(text))
            .map_err(|e| bad(&e.to_string()))?;
        let token: Self = serde_json::from_slice(&bytes).map_err(|e| bad(&e.to_string()))?;
        if token.v != "meta.k8s.io/v1" {
            return Err(bad(&format!("server does not recognize this encoded version \"{}\"", token.v)));
        }
        if token.start.is_empty() {
            return Err(bad("encoded start key empty (version meta.k8s.io/v1)"));
        }
        if token.start.split('/').any(|part| part == "..") {
            return Err(bad(&token.start));
        }
        Ok(token)
    }
}

/// 410 with a token that continues inconsistently at the newest state, as upstream.
fn expired_token(token: &Token, _newest: i64) -> StatusError {
    let fresh = Token { v: token.v.clone(), rv: -1, start: token.start.clone() };
    let fresh = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&fresh).expect("a token is always encodable"));
    let mut error = StatusError::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    error.continue_token = fresh;
    error
}
