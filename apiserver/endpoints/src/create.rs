//! Create: decode and default the body, pass the steps of a create (`writes::create`), answer with what was stored. Follows
//! `endpoints/handlers/create.go`.

use http::{Response, StatusCode};
use machinery::status::StatusError;
use model::options::Write;
use negotiation::Body;
use writes::create::create;
use writes::metadata;
use writes::strategy::Kind;

use crate::{Call, respond};

pub(super) async fn handle(mut call: Call, row: &Kind) -> Result<Response<Body>, StatusError> {
    let accept = call.accept(&row.kind())?;
    let options = Write::parse(&call.info.query, &call.parts.headers, "CreateOptions")?;
    let bytes = call.bytes().await?;
    let decoded = negotiation::object(&call.parts.headers, &bytes, &row.kind(), &row.types, options.field_validation)?;
    drop(bytes);
    call.warnings.extend(decoded.warnings);
    let mut object = decoded.object;
    row.types.default(&row.kind(), &mut object);
    let (entry, warnings) = {
        let cx = call.write_context(row, options.dry_run);
        let mut warned: Vec<String> = metadata::dedup_owners(&mut object).into_iter().collect();
        warned.extend(cx.resource.strategy.warnings(&cx, &object, None));
        (create(&cx, object, &options).await?, warned)
    };
    call.warnings.extend(warnings);
    call.named(entry.name());
    respond::entry(&call, row, StatusCode::CREATED, &entry, &accept).await
}
