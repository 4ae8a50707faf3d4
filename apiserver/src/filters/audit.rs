//! Audit: the place in the chain where what was asked, by whom, is noted. For now the note is a debug line; policies,
//! levels and backends are a later issue and change this file only.

use crate::filters::authn::UserInfo;
use crate::filters::request_info::RequestInfo;

/// A request as it will be noted.
pub struct Event {
    line: String,
}

/// A request that is authenticated.
pub fn received(info: &RequestInfo, user: &UserInfo) -> Event {
    let line = if tracing::enabled!(tracing::Level::DEBUG) {
        format!("{} {} by {}", info.verb, info.path, user.name)
    } else {
        String::new()
    };
    Event { line }
}

impl Event {
    /// The request was allowed, as that user (who may be impersonated).
    pub fn authorized(&mut self, user: &UserInfo) {
        tracing::debug!(request = %self.line, as_user = %user.name, "allowed");
    }
}
