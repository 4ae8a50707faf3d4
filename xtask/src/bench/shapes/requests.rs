//! Requests one after another: on one connection (the latency of each verb), and on many (throughput).

use std::ops::Range;

use bytes::Bytes;
use hyper::Method;

use crate::bench::Target;
use crate::bench::connection::{Encoding, JSON, STRATEGIC};
use crate::bench::load::{Body, load};
use crate::bench::measure::Stretch;
use crate::bench::objects::{self, Template};
use crate::bench::report::{Report, bytes};

/// Makes the request of a number.
type Make<'a> = &'a dyn Fn(usize) -> (Method, String, Body);

/// Create, get and patch, one request at a time.
pub(super) async fn sequential(
    target: &Target,
    namespace: &str,
    count: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let pods = objects::pods(namespace);
    let name = |i: usize| format!("web-5d4f8c7b9f-{i:05}");
    let template = Template::json(namespace, &name(0));
    let create = |i| (Method::POST, pods.clone(), Some((JSON, template.named(&name(i)))));
    let get = |i| (Method::GET, format!("{pods}/{}", name(i)), None);
    let patch = |i| {
        let body = format!(r#"{{"metadata":{{"labels":{{"seen":"{i}"}}}}}}"#);
        (Method::PATCH, format!("{pods}/{}", name(i)), Some((STRATEGIC, Bytes::from(body))))
    };
    let requests: [(&str, Make<'_>); 3] = [("create", &create), ("get", &get), ("patch", &patch)];
    for (verb, request) in requests {
        let stretch = Stretch::begin(&target.processes);
        let measured = stretch.end(load(&target.access, 1, 0..count, request).await?);
        report.stretch(&target.name, &format!("{verb} pods, 1 connection"), &measured);
    }
    Ok(())
}

/// Creates pods over many connections.
pub(super) async fn create(
    target: &Target,
    namespace: &str,
    range: Range<usize>,
    encoding: Encoding,
    connections: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let pods = objects::pods(namespace);
    let (media, template) = match encoding {
        Encoding::Json => (JSON, Template::json(namespace, &name(0))),
        Encoding::Protobuf => (api::protobuf::MEDIA_TYPE, Template::protobuf(namespace, &name(0))),
    };
    let stretch = Stretch::begin(&target.processes);
    let create = |i| (Method::POST, pods.clone(), Some((media, template.named(&name(i)))));
    let measured = stretch.end(load(&target.access, connections, range.clone(), create).await?);
    let more = if range.start > 0 { " more" } else { "" };
    let shape = format!("create {}{more} pods, {connections} connections, {}", range.len(), encoding.name());
    report.stretch(&target.name, &shape, &measured);
    memory(target, &format!("memory with {} pods", range.end), report);
    Ok(())
}

/// Memory as it is now, where the server's process is known.
pub(super) fn memory(target: &Target, shape: &str, report: &mut Report) {
    if let Some(resident) = target.processes.resident() {
        report.line(&target.name, shape, vec![bytes("resident", resident)]);
    }
}

/// Gets pods over many connections, in an order that is not theirs.
pub(super) async fn get(
    target: &Target,
    namespace: &str,
    count: usize,
    connections: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let pods = objects::pods(namespace);
    let stretch = Stretch::begin(&target.processes);
    let get = |i: usize| (Method::GET, format!("{pods}/{}", name(i.wrapping_mul(7_919) % count)), None);
    let measured = stretch.end(load(&target.access, connections, 0..2 * count, get).await?);
    report.stretch(&target.name, &format!("get pods, {connections} connections"), &measured);
    Ok(())
}

fn name(i: usize) -> String {
    format!("web-7c9d6f5b84-{i:05}")
}
