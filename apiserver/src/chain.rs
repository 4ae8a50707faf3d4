//! THE request path: what every request passes, in order. Nothing answers a request around it.
//!
//! A straight-line function, not a stack of tower layers: the order is read from top to bottom, an early end is a `?`,
//! and what a step learns (who asks, what for) is an ordinary value for the next (`docs/decisions/004`).

use std::sync::Arc;

use access::authn::{self, Peer};
use access::authz::{self, Attributes};
use endpoints::{Call, metrics};
use http::{Request, Response};
use hyper::body::Incoming;
use jiff::Timestamp;
use machinery::status::StatusError;
use model::request_info::RequestInfo;
use model::warnings::Warnings;
use negotiation::{Asked, Body, Upload};

use crate::Server;
use crate::filters::{audit, deadline, fairness, guard, impersonation};

/// Serves one request. Always answers: an error is a Status, a panic in a step is a 500 and a log line.
pub async fn serve(server: Arc<Server>, peer: Arc<Peer>, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let (body, id) = (Upload::new(body), audit::id(&parts.headers));
    let info = RequestInfo::of(&parts);
    let record = metrics::begin(&server.metrics, &info, &parts.headers);
    let asked = Asked::of(&parts, &info.query);
    let limit = deadline::limit(server.request_timeout, &info);
    let warnings = Warnings::default();
    let call = (info, asked.clone(), warnings.clone());
    let passed = guard::guarded(pass(server.clone(), peer, parts, body, call));
    let outcome = deadline::within(limit, &server.metrics, passed).await;
    let mut response = outcome.unwrap_or_else(|error| negotiation::status_response(&error, &asked));
    warnings.write(response.headers_mut());
    record.end(&server.registry, audit::mark(response, id))
}

async fn pass(
    server: Arc<Server>,
    peer: Arc<Peer>,
    parts: http::request::Parts,
    body: Upload,
    (info, answer, warnings): (RequestInfo, Asked, Warnings),
) -> Result<Response<Body>, StatusError> {
    let identified = authn::identify(&*server.authenticator, &parts, &peer).await;
    server.metrics.authenticated(identified.is_ok());
    let user = identified?;
    let mut event = audit::received(&info, &user);
    let asked = Attributes::of(&user, &info);
    let user = impersonation::apply(&*server.authorizer, &asked, &parts.headers)?.unwrap_or(user);
    let seat = fairness::enter(&server.fairness, &info, &user).await?;
    authz::check(&*server.authorizer, &user, &info)?;
    event.authorized(&user);
    // What follows is the endpoint's: decode and default, mutating admission, prepare, validate, validating admission,
    // store, encode.
    let now = Timestamp::now();
    let server = server.endpoints.clone();
    let call = Call { server, parts, body, received: None, abandoned: None, info, answer, user, peer, now, warnings };
    let response = endpoints::dispatch(call).await?;
    Ok(seat.keep_while_sending(response))
}
