//! Delete of a collection: what a list with the same selectors shows now is deleted one by one, by the same delete.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use http::{Response, StatusCode};
use machinery::status::StatusError;
use serde_json::{Value, json};

use super::delete::{self, Deleted};
use super::{Call, list, respond};
use crate::negotiation::{self, Body};
use crate::registry::catalogue::Resource;
use crate::registry::options::List;

/// Deletes under way at once: each waits for a synced write, and the store groups them.
const PARALLEL: usize = 16;

pub(super) async fn handle(mut call: Call, row: &Arc<Resource>) -> Result<Response<Body>, StatusError> {
    let accept = call.accept(&row.kind())?;
    let list_options = List::parse(&call.info.query, false)?;
    let options = delete::options(&mut call).await?;
    let selected = list::select(&call, row, &list_options).await?;
    let deleted: Vec<Value> = {
        let cx = &call.write_context(row, options.dry_run);
        let options = &options;
        stream::iter(selected.entries)
            .map(|entry| async move {
                match delete::delete(cx, entry.name(), options).await {
                    Ok(Deleted::Gone(entry) | Deleted::Marked(entry)) => {
                        Ok(Some(respond::value(cx.registry, cx.resource, &entry)))
                    }
                    Err(error) if error.is_not_found() => Ok(None),
                    Err(error) => Err(error),
                }
            })
            .buffer_unordered(PARALLEL)
            .try_filter_map(|value| std::future::ready(Ok(value)))
            .try_collect()
            .await?
    };
    let answer = json!({
        "kind": row.list_kind,
        "apiVersion": row.api_version(),
        "metadata": { "resourceVersion": selected.revision.to_string() },
        "items": deleted,
    });
    let kind = row.list_kind();
    Ok(negotiation::value_response(StatusCode::OK, &answer, &kind, &accept))
}
