//! The safety net around every request: a panic in it becomes a 500 instead of a lost connection.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use machinery::status::StatusError;

/// Runs a request's future; a panic in it is a 500.
pub async fn guarded<T>(future: impl Future<Output = Result<T, StatusError>>) -> Result<T, StatusError> {
    match AssertUnwindSafe(future).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(_) => Err(StatusError::internal("the server failed on this request; see its log")),
    }
}
