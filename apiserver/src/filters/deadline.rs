//! The deadline of a request: as long as the server allows, or less if its `timeout` parameter says so. Long-running
//! requests end by their own rules. Follows `apiserver/pkg/endpoints/filters/request_deadline.go` and
//! `apiserver/pkg/server/filters/timeout.go`. The time of a request's body counts too, so that a slow one ends.

use std::future::Future;
use std::time::Duration;

use machinery::status::StatusError;
use model::record::Record;
use model::request_info::RequestInfo;

/// The time a request has, as [`within`] takes it: 400 where its parameter cannot be read.
pub type Limit = Result<Option<Duration>, StatusError>;

/// Runs a request's future within its time: 504 beyond.
pub async fn within<T>(
    limit: Limit,
    record: &Record,
    future: impl Future<Output = Result<T, StatusError>>,
) -> Result<T, StatusError> {
    let Some(limit) = limit? else { return future.await };
    match tokio::time::timeout(limit, future).await {
        Ok(outcome) => outcome,
        Err(_) => {
            record.time_is_over();
            Err(StatusError::timeout("request did not complete within the allotted timeout", 0))
        }
    }
}

/// The time a request has; `None` for long-running ones.
pub fn limit(most: Duration, info: &RequestInfo) -> Limit {
    if info.long_running() {
        return Ok(None);
    }
    let Some(text) = info.query.get("timeout") else { return Ok(Some(most)) };
    let asked = machinery::duration::timeout(text)
        .map_err(|why| StatusError::bad_request(format!("invalid timeout specified in the request URL - {why}")))?;
    Ok(Some(if asked.is_zero() { most } else { asked.min(most) }))
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    const MOST: Duration = Duration::from_secs(60);

    #[test]
    fn a_timeout_parameter_shortens_and_never_lengthens() {
        for (path, expect) in [
            ("/api/v1/pods", "Ok(Some(60s))"),
            ("/api/v1/pods?timeout=1m30s", "Ok(Some(60s))"),
            ("/api/v1/pods?timeout=1.5s", "Ok(Some(1.5s))"),
            ("/api/v1/pods?timeout=0", "Ok(Some(60s))"),
            ("/api/v1/pods?watch=1&timeout=1s", "Ok(None)"),
        ] {
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            let info = RequestInfo::parse(&Method::GET, path, query);
            assert_eq!(format!("{:?}", limit(MOST, &info)), expect, "{path}?{query}");
        }
        for (text, why) in [
            ("5", "time: missing unit in duration \"5\""),
            ("x", "time: invalid duration \"x\""),
            ("1d", "time: unknown unit \"d\" in duration \"1d\""),
        ] {
            let info = RequestInfo::parse(&Method::GET, "/api/v1/pods", &format!("timeout={text}"));
            let error = limit(MOST, &info).unwrap_err();
            let message = format!("invalid timeout specified in the request URL - {why}");
            assert_eq!((error.code, error.message), (400, message));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_too_long_is_told_so() {
        let info = RequestInfo::parse(&Method::GET, "/api/v1/pods", "timeout=2s");
        let never = std::future::pending::<Result<(), StatusError>>();
        let record = Record::new(http::HeaderValue::from_static("id"), info, false);
        let error = within(limit(MOST, &record.info), &record, never).await.unwrap_err();
        assert!(record.timed_out());
        assert_eq!(error.code, 504);
        assert_eq!(error.message, "Timeout: request did not complete within the allotted timeout");
    }
}
