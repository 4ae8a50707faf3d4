//! Delete of a collection: what a list with the same selectors shows now is deleted one by one, by the same delete.

use futures::{StreamExt, TryStreamExt, stream};
use http::Response;
use machinery::status::StatusError;
use model::options::List;
use negotiation::Body;
use writes::delete;
use writes::strategy::Kind;

use super::{Call, list};

/// Deletes under way at once: each waits for a synced write, and the store groups them.
const PARALLEL: usize = 16;

pub(super) async fn handle(mut call: Call, row: &Kind) -> Result<Response<Body>, StatusError> {
    let accept = call.accept(&row.kind())?;
    let list_options = List::parse(&call.info.query)?;
    let options = crate::delete::options(&mut call).await?;
    let selected = list::select(&call, row, &list_options).await?;
    {
        let cx = &call.write_context(row, options.dry_run);
        let options = &options;
        stream::iter(selected.entries.clone())
            .map(|entry| async move {
                match delete::delete(cx, entry.name(), options).await {
                    Err(error) if !error.is_not_found() => Err(error),
                    _ => Ok(()),
                }
            })
            .buffer_unordered(PARALLEL)
            .try_collect::<()>()
            .await?;
    }
    // As upstream, the answer is what was found, not what became of it.
    list::answer(&call, row, &accept, selected).await
}
