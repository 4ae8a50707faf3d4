//! THE request path: what every request passes, in order. Nothing answers a request around it.
//!
//! A straight-line function, not a stack of tower layers: the order is read from top to bottom, an early end is a `?`,
//! and what a step learns (who asks, what for) is an ordinary value for the next (`docs/decisions/004`). What is to be told of
//! the request afterwards is in its record.

use std::sync::Arc;

use access::authn::{self, Peer};
use access::authz::{self, Attributes};
use endpoints::Call;
use http::{Request, Response};
use hyper::body::Incoming;
use jiff::Timestamp;
use machinery::status::StatusError;
use model::record::Record;
use negotiation::{Asked, Body, Upload};

use crate::Server;
use crate::filters::{audit, deadline, fairness, following, guard, impersonation, observe};

/// Serves one request. Always answers: an error is a Status, a panic in a step is a 500 and a log line.
pub async fn serve(server: Arc<Server>, peer: Arc<Peer>, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let record = Arc::new(Record::begin(audit::id(&parts.headers), &parts));
    let under_way = observe::begin(&server, &record);
    let asked = Asked::of(&parts, &record.info.query);
    let limit = deadline::limit(server.request_timeout, &record.info);
    let call = (record.clone(), asked.clone());
    let passed = guard::guarded(pass(server, peer, parts, Upload::new(body), call));
    let outcome = deadline::within(limit, &record, passed).await;
    let mut response = outcome.unwrap_or_else(|error| negotiation::status_response(&error, &asked));
    record.warnings.write(response.headers_mut());
    under_way.answered(audit::mark(response, &record))
}

async fn pass(
    server: Arc<Server>,
    peer: Arc<Peer>,
    parts: http::request::Parts,
    body: Upload,
    (record, answer): (Arc<Record>, Asked),
) -> Result<Response<Body>, StatusError> {
    let info = &record.info;
    let place = server.leaving.enter(info, &parts.headers)?;
    let user = record.identified(authn::identify(&*server.authenticator, &parts, &peer).await)?;
    let asked = Attributes::of(user, info);
    let other = impersonation::apply(&*server.authorizer, &asked, &parts.headers)?;
    let user = other.map_or(user, |other| record.acts_as(other));
    let seat = fairness::enter(&server.fairness, info, user).await?;
    authz::check(&*server.authorizer, user, info)?;
    // What follows is the endpoint's: decode and default, mutating admission, prepare, validate, validating admission,
    // store, encode.
    let now = Timestamp::now();
    let server = server.endpoints.clone();
    let call = Call { server, parts, body, received: None, abandoned: None, record, answer, peer, now };
    let response = endpoints::dispatch(call).await?;
    Ok(following::keep(seat.keep_while_sending(response), place))
}
