//! List: a snapshot of the cache, filtered by what the entries carry and copied out (`pieces.rs`) without a lock.
//! A state that the cache has forgotten is read from the store.

use std::borrow::Cow;
use std::sync::Arc;

use cache::Entry;
use http::{Response, StatusCode};
use machinery::gvk::GroupVersionKind;
use machinery::selector::{FieldOperator, FieldTerm};
use machinery::status::StatusError;
use model::encoding::Encoding;
use model::options::{List, ReadAt};
use model::resource::Resource;
use negotiation::{Accept, Body, Form};
use serde_json::{Value, json};
use writes::selection::Selection;
use writes::strategy::Kind;
use writes::{Registry, convert};

use super::Call;
use super::continue_token::Token;
use super::pieces::{Make, Pieces};
use super::respond::{self, Copied};

/// The page that a list request is answered with.
pub(super) struct Selected {
    pub entries: Vec<Arc<Entry>>,
    pub revision: i64,
    /// Where the next page begins.
    pub next: Option<String>,
    /// How many are left after this page, where that is known.
    pub remaining: Option<u64>,
}

pub(super) async fn handle(call: Call, row: &Kind) -> Result<Response<Body>, StatusError> {
    let accept = call.accept(&row.kind())?;
    respond::check_form(&call, row, &accept, true)?;
    let options = List::parse(&call.info.query)?;
    let page = select(&call, row, &options).await?;
    answer(&call, row, &accept, page).await
}

/// A page as a response.
pub(super) async fn answer(
    call: &Call,
    row: &Kind,
    accept: &Accept,
    page: Selected,
) -> Result<Response<Body>, StatusError> {
    let mut metadata = json!({ "resourceVersion": page.revision.to_string() });
    if let Some(next) = &page.next {
        metadata["continue"] = next.as_str().into();
        if let Some(remaining) = page.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    let registry = &call.server.registry;
    let entries = convert::entries(registry, row, page.entries).await?;
    if let Some(copied) = Copied::of(accept)
        && let Some(pieces) = Pieces::new(row, copied, &metadata, &entries).await
    {
        return Ok(pieces.response(entries, accept));
    }
    if let Some(pieces) = made(call, row, accept, &metadata, &entries) {
        return Ok(pieces.response(entries, accept));
    }
    let objects: Vec<Value> = entries.iter().map(|entry| entry.decode()).collect();
    Ok(values(call, row, accept, objects, metadata))
}

/// A Table or a list of metadata in JSON, whose rows and items are made while it is sent.
fn made(call: &Call, row: &Kind, accept: &Accept, metadata: &Value, entries: &[Arc<Entry>]) -> Option<Pieces> {
    if accept.encoding != Encoding::Json || accept.form == Form::Plain {
        return None;
    }
    let (empty, kind) = value(call, row, accept, Vec::new(), metadata.clone());
    let empty = model::encoding::encode(&empty, &kind);
    let (row, accept) = (row.clone(), accept.clone());
    let make: Make = match accept.form {
        Form::Table => {
            let (include, now) = (respond::included(call).to_owned(), call.now);
            let ty = api::schema::named("meta.v1", "TableRow")?;
            Box::new(move |entry, out| {
                let made = negotiation::table::row(&row, &entry.decode(), &include, now);
                api::encode::json(&made, ty, out);
            })
        }
        _ => {
            let kind = respond::meta_kind("PartialObjectMetadata", &accept);
            Box::new(move |entry, out| {
                if !entry.write_metadata(accept.form_version, out) {
                    out.extend_from_slice(&model::encoding::encode(&respond::partial(&entry.decode(), &accept), &kind));
                }
            })
        }
    };
    Pieces::made(&empty, make, entries)
}

/// Objects as a response, the slow way.
pub(super) fn values(
    call: &Call,
    row: &Resource,
    accept: &Accept,
    objects: Vec<Value>,
    metadata: Value,
) -> Response<Body> {
    let (answer, kind) = value(call, row, accept, objects, metadata);
    negotiation::value_response(StatusCode::OK, &answer, &kind, accept)
}

fn value(
    call: &Call,
    row: &Resource,
    accept: &Accept,
    objects: Vec<Value>,
    mut metadata: Value,
) -> (Value, GroupVersionKind) {
    match accept.form {
        Form::Table => (respond::table(call, row, objects, metadata, accept), respond::meta_kind("Table", accept)),
        Form::Metadata | Form::MetadataList => {
            let items: Vec<Value> = objects.iter().map(|o| respond::partial(o, accept)).collect();
            let kind = respond::meta_kind("PartialObjectMetadataList", accept);
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
    }
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
    let cache = registry.cache(row).ok_or_else(crate::dispatch::no_such_path)?;
    let options = named(options, &call.info.name)?;
    let selection = Selection::new(registry, row, &options)?;
    let token = options.continue_token.as_deref().map(Token::decode).transpose()?;
    let (at, start) = match token {
        Some(token) if token.rv > 0 => (ReadAt::Exact(token.rv), Some(token.start)),
        Some(token) => (ReadAt::MostRecent, Some(token.start)),
        None => (options.at, None),
    };
    // Tokens are relative to the namespace, as upstream's.
    let namespace = call.namespace();
    let start = start.map(|start| namespace.map_or_else(|| start.clone(), |n| format!("{n}/{start}")));
    let snapshot = match at {
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
            // Upstream's store says no time to try again after.
            registry.feed().reached(revision).await.map_err(|e| e.retry_after(0))?;
            let gone = |error: StatusError| match &start {
                Some(start) if error.is_expired() => expired_token(relative(start, namespace)),
                _ => error,
            };
            match cache.snapshot_at(revision) {
                // The window of a quiet resource reaches back further than the store: a state is gone when it is gone there.
                Ok(snapshot) => {
                    registry.kept(revision).await.map_err(gone)?;
                    snapshot
                }
                // Older than the window: the store may still have it.
                Err(_) => {
                    let past = Past { revision, namespace, start: start.as_deref(), limit: options.limit };
                    return past.read(registry, row, &selection).await.map_err(gone);
                }
            }
        }
    };
    if let Some(key) = snapshot.unreadable(namespace) {
        return Err(model::store::unreadable(key, "of a list"));
    }
    let (revision, range) = (snapshot.revision, snapshot.range(namespace, start.as_deref()));
    if selection.is_of_version() {
        let found = selection.in_version(registry, row, range).await?;
        return Ok(page(found.iter(), revision, namespace, &selection, options.limit));
    }
    Ok(page(range, revision, namespace, &selection, options.limit))
}

/// Options with the name of the path (a watch of one object) as a selector.
pub(super) fn named<'o>(options: &'o List, name: &str) -> Result<Cow<'o, List>, StatusError> {
    if name.is_empty() || options.fields.exact_match("metadata.name") == Some(name) {
        return Ok(Cow::Borrowed(options));
    }
    if !options.fields.is_everything() {
        return Err(StatusError::bad_request("fieldSelector metadata.name doesn't match requested name"));
    }
    let mut options = options.clone();
    let (field, value) = ("metadata.name".to_owned(), name.to_owned());
    options.fields.terms.push(FieldTerm { field, operator: FieldOperator::Equals, value });
    Ok(Cow::Owned(options))
}

/// A page of a state that the cache has forgotten: read from the store, as far back as it is compacted.
struct Past<'a> {
    revision: i64,
    namespace: Option<&'a str>,
    start: Option<&'a str>,
    limit: usize,
}

impl Past<'_> {
    async fn read(&self, registry: &Registry, row: &Resource, selection: &Selection) -> Result<Selected, StatusError> {
        let mut entries: Vec<Arc<Entry>> = Vec::new();
        let mut after = self.start.map(|start| start.trim_end_matches('\0').to_owned());
        let wanted = if self.limit == 0 { usize::MAX } else { self.limit };
        let mut total = None;
        loop {
            // One more than wanted tells whether there are more.
            let most = wanted.saturating_sub(entries.len()).saturating_add(1);
            let read = registry.past(row, self.namespace, self.revision, after.as_deref(), most).await?;
            let Some(last) = &read.last else { break };
            let total = *total.get_or_insert(read.count);
            let found = match selection.is_of_version() {
                true => selection.in_version(registry, row, read.entries.iter()).await?,
                false => read.entries,
            };
            for entry in found.into_iter().filter(|entry| selection.matches(entry)) {
                if entries.len() == wanted {
                    let last = entries.last().map(|entry| entry.key.clone()).unwrap_or_default();
                    let remaining = selection.is_everything().then_some(total.saturating_sub(wanted as u64));
                    let next = Token::after(self.revision, relative(&last, self.namespace));
                    return Ok(Selected { entries, revision: self.revision, next: Some(next), remaining });
                }
                entries.push(entry);
            }
            if !read.more {
                break;
            }
            after = Some(last.clone());
        }
        Ok(Selected { entries, revision: self.revision, next: None, remaining: None })
    }
}

fn page<'e>(
    range: impl Iterator<Item = &'e Arc<Entry>>,
    revision: i64,
    namespace: Option<&str>,
    selection: &Selection,
    limit: usize,
) -> Selected {
    let mut matching = range.filter(|entry| selection.matches(entry));
    if limit == 0 {
        return Selected { entries: matching.cloned().collect(), revision, next: None, remaining: None };
    }
    let entries: Vec<Arc<Entry>> = matching.by_ref().take(limit).cloned().collect();
    let more = matching.next().is_some();
    let next = entries.last().filter(|_| more);
    let next = next.map(|last| Token::after(revision, relative(&last.key, namespace)));
    // Upstream does not count what selectors would leave out.
    let remaining = (more && selection.is_everything()).then(|| 1 + matching.count() as u64);
    Selected { entries, revision, next, remaining }
}

fn relative<'k>(key: &'k str, namespace: Option<&str>) -> &'k str {
    namespace.and_then(|n| key.strip_prefix(n)?.strip_prefix('/')).unwrap_or(key)
}

/// 410 with a token that continues inconsistently at the newest state, as upstream.
fn expired_token(start: &str) -> StatusError {
    let mut error = StatusError::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    error.continue_token = Token::inconsistent(start);
    error
}
