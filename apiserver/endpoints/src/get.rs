//! Get: the cached object after the cache has caught up, bytes copied.

use http::{Response, StatusCode};
use machinery::status::StatusError;
use model::options::parse_revision;
use negotiation::Body;
use writes::strategy::Kind;

use super::{Call, respond};

pub(super) async fn handle(call: Call, row: &Kind) -> Result<Response<Body>, StatusError> {
    let accept = call.accept(&row.kind())?;
    let registry = &call.server.registry;
    match call.info.query.get("resourceVersion") {
        // "0" asks for whatever there is.
        Some("0") => {}
        Some(revision) => registry.feed().reached(parse_revision(revision)?).await?,
        None => registry.feed().caught_up().await?,
    }
    let cache = registry.cache(row).ok_or_else(crate::dispatch::no_such_path)?;
    let key = model::store::key(call.namespace(), &call.info.name);
    if cache.is_unreadable(&key) {
        return Err(model::store::unreadable(&key, "asked for by a get"));
    }
    let entry = cache.get(&key).ok_or_else(|| StatusError::not_found(&row.group_resource(), &call.info.name))?;
    respond::entry(&call, row, StatusCode::OK, &entry, &accept).await
}
