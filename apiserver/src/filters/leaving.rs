//! How clients are told to go elsewhere: a GOAWAY now and then, so that several servers behind one balancer come to have about
//! as many connections (`--goaway-chance`), and a 429 for what comes while the server ends (`--shutdown-send-retry-after`).
//!
//! Follows `apiserver/pkg/server/filters` (goaway.go, with_retry_after.go).

use std::time::Duration;

use http::HeaderMap;
use http::header::USER_AGENT;
use machinery::status::StatusError;
use model::request_info::RequestInfo;
use rand::RngExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The most that `--goaway-chance` may be.
pub const MOST_GOAWAY_CHANCE: f64 = 0.02;
/// What is served until the very end: who asks wants to know how the server is.
const EXEMPT: [&str; 4] = ["/readyz", "/livez", "/healthz", "/metrics"];
/// When clients that were sent away are to come again.
const AGAIN_SECONDS: i32 = 5;

/// What is configured of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Policy {
    /// The chance that a request over HTTP/2 is its connection's last: 0 is never.
    pub goaway_chance: f64,
    /// Whether requests that come while the server ends get an answer, for as long as others are under way, instead of no
    /// connection.
    pub send_retry_after: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Leaving {
    policy: Policy,
    /// Cancelled when requests are sent away.
    away: CancellationToken,
    under_way: TaskTracker,
}

impl Leaving {
    /// With that policy.
    pub fn new(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// Whether a connection over HTTP/2 is to end with the request that has come.
    pub fn goaway(&self) -> bool {
        self.policy.goaway_chance > 0.0 && rand::rng().random_bool(self.policy.goaway_chance.min(1.0))
            || self.away.is_cancelled()
    }

    /// Lets a request in, or sends it away. What is returned is kept until its answer has been sent; `None` where nobody
    /// will wait for it.
    ///
    /// # Errors
    /// 429 from when the server does not take requests any more.
    pub fn enter(&self, info: &RequestInfo, headers: &HeaderMap) -> Result<Option<TaskTrackerToken>, StatusError> {
        if !self.policy.send_retry_after {
            return Ok(None);
        }
        let agent = headers.get(USER_AGENT).map_or(&b""[..], |agent| agent.as_bytes());
        let exempt = EXEMPT.iter().any(|path| info.path.starts_with(path)) || agent.starts_with(b"kube-apiserver/");
        // Counted before it is asked, so that none slips by.
        let token = (!exempt && !info.long_running()).then(|| self.under_way.token());
        if !exempt && self.away.is_cancelled() {
            let why = "The apiserver is shutting down, please try again later.";
            return Err(StatusError::too_many_requests(why, AGAIN_SECONDS));
        }
        Ok(token)
    }

    /// Where the policy is so: sends requests away from now on, and waits until those that were let in have been answered, but
    /// not longer than one may take.
    pub async fn drain(&self, most: Duration) {
        if !self.policy.send_retry_after {
            return;
        }
        self.away.cancel();
        self.under_way.close();
        if tokio::time::timeout(most, self.under_way.wait()).await.is_err() {
            tracing::warn!(under_way = self.under_way.len(), "requests are still under way when the server ends");
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn asked(leaving: &Leaving, path: &str, agent: &'static str) -> Result<Option<TaskTrackerToken>, StatusError> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let headers = HeaderMap::from_iter([(USER_AGENT, http::HeaderValue::from_static(agent))]);
        leaving.enter(&RequestInfo::parse(&Method::GET, path, query), &headers)
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_ends_answers_what_is_under_way_and_sends_the_rest_away() {
        let leaving = Leaving::new(Policy { send_retry_after: true, ..Policy::default() });
        let before = asked(&leaving, "/api/v1/pods", "x").expect("let in").expect("waited for");
        assert!(asked(&leaving, "/api/v1/pods?watch=true", "x").expect("let in").is_none(), "nobody waits for a watch");
        let ends = leaving.drain(Duration::from_secs(60));
        tokio::pin!(ends);
        assert!(futures::poll!(&mut ends).is_pending());
        for path in ["/api/v1/pods", "/api/v1/pods?watch=true", "/apis"] {
            let error = asked(&leaving, path, "x").expect_err("sent away");
            let seconds = error.details.as_ref().map(|d| d.retry_after_seconds);
            assert_eq!((error.code, seconds), (429, Some(5)), "{path}");
        }
        for (path, agent) in [("/readyz", "x"), ("/livez/ping", "x"), ("/metrics", "x"), ("/api", "kube-apiserver/v1")]
        {
            assert!(asked(&leaving, path, agent).is_ok(), "{path} {agent}");
        }
        assert!(leaving.goaway());
        drop(before);
        assert!(futures::poll!(&mut ends).is_ready());
    }

    #[test]
    fn connections_end_as_often_as_they_should() {
        let often = |goaway_chance| {
            let leaving = Leaving::new(Policy { goaway_chance, ..Policy::default() });
            (0..100_000).filter(|_| leaving.goaway()).count()
        };
        assert_eq!(often(0.0), 0);
        assert!((1_500..2_500).contains(&often(0.02)));
    }
}
