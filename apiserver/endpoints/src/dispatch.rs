//! Dispatch: asks the route sources what a request is for, and hands it to its verb. Whatever no source has is not served.

use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;

use access::authn::Peer;
use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use jiff::Timestamp;
use machinery::gvk::GroupVersionKind;
use machinery::status::StatusError;
use model::record::Record;
use model::resource::{Sort, Verb};
use model::types::Types;
use model::user::UserInfo;
use negotiation::{Accept, Asked, Body, Offer, Upload};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use writes::admission;
use writes::strategy::{Kind, WriteContext};

use crate::sources::Found;
use crate::virtual_::Virtual;
use crate::{Server, collection, connect, create, delete, general, get, list, patch, respond, scale, update, watch};

/// One request, authorized, on its way through an endpoint.
pub struct Call {
    /// The server.
    pub server: Arc<Server>,
    /// The head of the request.
    pub parts: Parts,
    /// The body, until it is read.
    pub body: Upload,
    /// The body's bytes, where they are there before the endpoint asks for them: of a write.
    pub received: Option<Bytes>,
    /// Cancelled when nobody waits for the answer of a write any more.
    pub abandoned: Option<CancellationToken>,
    /// Its record: what it is about, who asks.
    pub record: Arc<Record>,
    /// What the answer is to be.
    pub answer: Asked,
    /// Where from.
    pub peer: Arc<Peer>,
    /// The time of the request.
    pub now: Timestamp,
}

/// A call reads as its record.
impl Deref for Call {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

impl Call {
    /// The namespace, if the request is in one.
    pub fn namespace(&self) -> Option<&str> {
        (!self.info.namespace.is_empty() && self.info.resource != "namespaces").then_some(self.info.namespace.as_str())
    }

    /// As whom the request acts.
    pub fn user(&self) -> &UserInfo {
        self.record.user().expect("a call is made of a request that is authenticated")
    }

    /// What is answered with objects of that kind.
    pub fn accept(&self, kind: &GroupVersionKind) -> Result<Accept, StatusError> {
        self.answer.negotiate(offer(kind))
    }

    /// The body's bytes.
    pub async fn bytes(&mut self) -> Result<Bytes, StatusError> {
        match (self.received.take(), self.body.take()) {
            (Some(received), _) => Ok(received),
            (None, Some(body)) => negotiation::body(body).await,
            (None, None) => Ok(Bytes::new()),
        }
    }

    /// What a strategy may know of this request's write.
    pub fn write_context<'a>(&'a self, row: &'a Kind, dry_run: bool) -> WriteContext<'a> {
        WriteContext {
            resource: row,
            subresource: (!self.info.subresource.is_empty()).then_some(self.info.subresource.as_str()),
            namespace: self.namespace(),
            user: self.user(),
            now: self.now,
            dry_run,
            answer: self.accept(&row.kind()).unwrap_or_default().encoding,
            abandoned: self.abandoned.as_ref(),
            record: Some(&self.record),
            registry: &self.server.registry,
        }
    }
}

/// What can be made of objects of a kind.
pub(crate) fn offer(kind: &GroupVersionKind) -> Offer {
    Offer { protobuf: api::schema::of(kind).is_some(), forms: true }
}

/// Upstream's answer where nothing is served.
pub fn no_such_path() -> StatusError {
    StatusError::no_such_resource()
}

/// Hands a request to its endpoint.
pub async fn dispatch(call: Call) -> Result<Response<Body>, StatusError> {
    if !call.info.is_resource {
        return Box::pin(general::serve(call)).await;
    }
    let info = &call.info;
    let row = match call.server.sources.find(&info.group, &info.version, &info.resource) {
        Found::Kind(row) => row,
        Found::Whole(endpoint) => return endpoint.serve(call).await,
        Found::Nothing | Found::Elsewhere => return Err(no_such_path()),
    };
    let in_namespace = call.namespace().is_some();
    let whole_collection = info.subresource.is_empty() && matches!(info.verb, "list" | "watch");
    if in_namespace != row.namespaced && !(row.namespaced && whole_collection) {
        return Err(no_such_path());
    }
    call.warnings.extend(row.deprecation.iter().map(|text| text.to_string()));
    let streams = !info.subresource.is_empty() && connect::serves(&row, &info.subresource);
    match info.verb {
        "create" | "update" | "patch" | "delete" | "deletecollection" if !streams => write(call, row).await,
        _ => serve(call, &row).await,
    }
}

/// A write is a task of its own from when its body is there: a client that hangs up, and a deadline, end the waiting and not
/// the write. One that has not begun to take or store anything by then does not begin (`WriteContext::may_begin`).
async fn write(mut call: Call, row: Kind) -> Result<Response<Body>, StatusError> {
    call.received = Some(call.bytes().await?);
    let gone = CancellationToken::new();
    call.abandoned = Some(gone.clone());
    let _waiting = gone.drop_guard();
    let task = component::supervisor::detached("write", async move { serve(call, &row).await });
    task.await.unwrap_or_else(|_| Err(StatusError::internal("the server failed on this request; see its log")))
}

async fn serve(call: Call, row: &Kind) -> Result<Response<Body>, StatusError> {
    let info = &call.info;
    if !info.subresource.is_empty() {
        return Box::pin(subresource(call, row)).await;
    }
    let verb = verb(info.verb).filter(|verb| row.verbs.contains(verb));
    let Some(verb) = verb else {
        return Err(StatusError::method_not_supported(&row.group_resource(), info.verb));
    };
    let answer: Answer<'_> = match (&row.sort, verb) {
        (Sort::Virtual, _) => Box::pin(virtual_(call, row)),
        (_, Verb::Create) => Box::pin(create::handle(call, row)),
        (_, Verb::Get) => Box::pin(get::handle(call, row)),
        (_, Verb::List) => Box::pin(list::handle(call, row)),
        (_, Verb::Watch) => Box::pin(watch::handle(call, row)),
        (_, Verb::Update) => Box::pin(update::handle(call, row)),
        (_, Verb::Patch) => Box::pin(patch::handle(call, row)),
        (_, Verb::Delete) => Box::pin(delete::handle(call, row)),
        (_, Verb::DeleteCollection) => Box::pin(collection::handle(call, row)),
    };
    answer.await
}

/// An endpoint at work. By pointer: some are large, and each layer of a request's path moves what it waits for.
type Answer<'c> = Pin<Box<dyn Future<Output = Result<Response<Body>, StatusError>> + Send + 'c>>;

fn verb(name: &str) -> Option<Verb> {
    model::resource::ALL.iter().copied().find(|verb| verb.as_str() == name)
}

/// Parts of an object: those of its own kind go through the same verbs, `scale` through its conversion, streams
/// through `connect`, and the rest (bindings, evictions, tokens) through the virtual resources.
async fn subresource(call: Call, row: &Kind) -> Result<Response<Body>, StatusError> {
    let info = &call.info;
    if connect::serves(row, &info.subresource) {
        return connect::handle(call, row).await;
    }
    let part = row.subresource(&info.subresource).ok_or_else(no_such_path)?;
    let refused = || StatusError::method_not_supported(&row.group_resource(), info.verb);
    if !verb(info.verb).is_some_and(|verb| part.verbs.contains(&verb)) {
        return Err(refused());
    }
    match info.verb {
        _ if part.name == "scale" => scale::handle(call, row).await,
        _ if part.kind != row.kind() => virtual_(call, row).await,
        "get" => get::handle(call, row).await,
        "update" => update::handle(call, row).await,
        "patch" => patch::handle(call, row).await,
        _ => Err(refused()),
    }
}

/// Resources that store nothing: a body in, an answer out.
async fn virtual_(mut call: Call, row: &Kind) -> Result<Response<Body>, StatusError> {
    let server = call.server.clone();
    let handler = server.sources.handler(row, &call.info.subresource).ok_or_else(no_such_path)?;
    let part = row.subresource(&call.info.subresource);
    let kind = part.map_or_else(|| row.kind(), |part| part.kind.clone());
    if call.info.verb != "create" {
        return made(call, row, handler).await;
    }
    // What is posted to has no Table: upstream's have no columns.
    let accept = call.answer.negotiate(Offer { forms: false, ..offer(&kind) })?;
    let options = model::options::Write::parse(&call.info.query, &call.parts.headers, "CreateOptions")?;
    let bytes = call.bytes().await?;
    let types = Types::of(&kind);
    let decoded = negotiation::object(&call.parts.headers, &bytes, &kind, &types, options.field_validation)?;
    call.warnings.extend(decoded.warnings);
    let mut object = decoded.object;
    types.default(&kind, &mut object);
    let answer = {
        let cx = call.write_context(row, options.dry_run);
        let (name, options) = (&call.info.name, admission::Options::Write(&options));
        let mut request = admission::Request::new(&cx, admission::Operation::Create, name, None, options);
        request.kind = Some(&kind);
        cx.registry.admission().admit(&request, &mut object).await?;
        cx.registry.admission().validate(&request, &object).await?;
        handler.serve(&call.server, &cx, &call.info, object).await?
    };
    let kind = if machinery::meta::kind(&answer).is_empty() { kind } else { machinery::meta::gvk(&answer) };
    Ok(negotiation::value_response(StatusCode::CREATED, &answer, &kind, &accept))
}

/// An object or a list that is made when it is read, in any form that a stored one has.
async fn made(call: Call, row: &Kind, handler: &dyn Virtual) -> Result<Response<Body>, StatusError> {
    let accept = call.accept(&row.kind())?;
    let list = call.info.verb == "list";
    respond::check_form(&call, row, &accept, list)?;
    let mut answer = handler.serve(&call.server, &call.write_context(row, false), &call.info, Value::Null).await?;
    if !list {
        return Ok(respond::value(&call, row, StatusCode::OK, answer, &accept));
    }
    let options = model::options::List::parse(&call.info.query)?;
    let Value::Array(mut objects) = answer["items"].take() else { return Err(no_such_path()) };
    objects.retain(|object| {
        let (name, namespace) = (machinery::meta::name(object), machinery::meta::namespace(object));
        let fields = [("metadata.name", name), ("metadata.namespace", namespace)];
        options.labels.matches(&object["metadata"]["labels"]) && options.fields.matches(&fields[..])
    });
    Ok(list::values(&call, row, &accept, objects, serde_json::json!({})))
}
