//! How many requests run at once. Two pools, as kube-apiserver's `--max-requests-inflight` and
//! `--max-mutating-requests-inflight`: a flood of reads leaves writes their places. What finds no place waits a moment
//! and is then sent away (429, Retry-After). Watches and streams hold no place: their number is bounded by connections.
//! Flow schemas and priority levels are a later issue; this is where they go.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use http_body_util::BodyExt;
use machinery::status::StatusError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::filters::authn::{MASTERS, UserInfo};
use crate::filters::request_info::RequestInfo;
use crate::negotiation::Body;

/// How long a request waits for a place.
const PATIENCE: Duration = Duration::from_secs(15);

/// The pools.
pub struct Fairness {
    reading: Arc<Semaphore>,
    mutating: Arc<Semaphore>,
}

impl Fairness {
    /// Pools of these sizes.
    pub fn new(reading: usize, mutating: usize) -> Self {
        Self { reading: Arc::new(Semaphore::new(reading)), mutating: Arc::new(Semaphore::new(mutating)) }
    }
}

/// A place, held until the response is sent.
pub struct Seat(Option<OwnedSemaphorePermit>);

/// Waits for a place.
pub async fn enter(fairness: &Fairness, info: &RequestInfo, user: &UserInfo) -> Result<Seat, StatusError> {
    let exempt = info.long_running() || user.in_group(MASTERS) || !info.is_resource && info.path.ends_with("z");
    if exempt {
        return Ok(Seat(None));
    }
    let pool = if matches!(info.verb, "get" | "list" | "head") { &fairness.reading } else { &fairness.mutating };
    match tokio::time::timeout(PATIENCE, pool.clone().acquire_owned()).await {
        Ok(Ok(permit)) => Ok(Seat(Some(permit))),
        _ => Err(StatusError::too_many_requests(
            "The server is currently unable to handle the request: too many requests, please try again later.",
            1,
        )),
    }
}

impl Seat {
    /// Gives the place back when the body has been sent.
    pub fn keep_while_sending(self, response: Response<Body>) -> Response<Body> {
        match self.0 {
            None => response,
            Some(permit) => response.map(|body| {
                body.map_frame(move |frame| {
                    let _held = &permit;
                    frame
                })
                .boxed_unsync()
            }),
        }
    }
}
