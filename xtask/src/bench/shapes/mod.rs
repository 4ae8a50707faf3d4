//! The shapes of load: of an API server, in the order in which they run on one, each finding what the one before left; and of
//! whole clusters (`cluster`).

pub(super) mod cluster;
mod list;
mod node;
mod requests;
mod snapshot;
mod watch;

use std::time::Duration;

use super::connection::Encoding;
use super::report::{Report, bytes, percent};
use super::{Flags, Target, objects};

pub(crate) use node::pods;

/// Shapes of an API server by name.
pub(crate) const NAMES: &[&str] =
    &["start", "memory", "sequential", "create", "get", "list", "watch", "restart", "snapshot"];

/// Memory and CPU of a server that has nothing to do.
pub(crate) async fn idle(target: &Target, report: &mut Report) -> anyhow::Result<()> {
    const WATCHED: Duration = Duration::from_secs(5);
    let before = target.processes.cpu();
    tokio::time::sleep(WATCHED).await;
    if let (Some(before), Some(after), Some(resident)) = (before, target.processes.cpu(), target.processes.resident()) {
        let used = after.iter().sum::<Duration>().saturating_sub(before.iter().sum());
        let share = used.as_secs_f64() / WATCHED.as_secs_f64() * 100.0;
        report.line(&target.name, "idle", vec![bytes("resident", resident), percent("CPU", share)]);
    }
    Ok(())
}

/// Every shape that is wanted, on one server; namespaces of a server that was not started here are deleted afterwards.
pub(crate) async fn run(target: &mut Target, flags: &Flags, report: &mut Report) -> anyhow::Result<()> {
    let names = ["bench-one", "bench-many", "bench-watch"];
    let mut connection = target.access.http1().await?;
    for name in names {
        objects::namespace(&mut connection, name).await?;
    }
    drop(connection);
    let result = in_namespaces(target, flags, report, names).await;
    if target.launched.is_none() {
        let mut connection = target.access.http1().await?;
        for name in names {
            let pods = format!("{}?gracePeriodSeconds=0", objects::pods(name));
            connection.call(hyper::Method::DELETE, &pods, None).await?;
            connection.call(hyper::Method::DELETE, &format!("/api/v1/namespaces/{name}"), None).await?;
        }
    }
    result
}

async fn in_namespaces(
    target: &mut Target,
    flags: &Flags,
    report: &mut Report,
    [one, many, watched]: [&str; 3],
) -> anyhow::Result<()> {
    if flags.wants("sequential") {
        requests::sequential(target, one, flags.sequential, report).await?;
    }
    if flags.wants("watch") {
        for watchers in &flags.watchers {
            watch::fan_out(target, watched, *watchers, flags, report).await?;
        }
    }
    let filled = ["create", "get", "list", "restart", "snapshot"].iter().any(|shape| flags.wants(shape));
    if filled {
        requests::create(target, many, 0..flags.create, Encoding::Json, flags.connections, report).await?;
    }
    if flags.wants("get") {
        requests::get(target, many, flags.create, flags.connections, report).await?;
    }
    if flags.wants("list") {
        list::list(target, many, flags.create, Encoding::Json, report).await?;
    }
    if flags.many > flags.create && flags.wants_any(&["list", "restart", "snapshot"]) {
        // The rest in protobuf, as controllers write.
        let rest = flags.create..flags.many;
        requests::create(target, many, rest, Encoding::Protobuf, flags.connections, report).await?;
        if flags.wants("list") {
            list::list(target, many, flags.many, Encoding::Json, report).await?;
            list::list(target, many, flags.many, Encoding::Protobuf, report).await?;
            requests::memory(target, &format!("memory with both encodings of {} pods", flags.many), report);
        }
        if flags.wants("restart") {
            list::restart(target, many, flags.many, report).await?;
        }
        if flags.wants("snapshot") {
            snapshot::save_and_restore(target, many, flags.many, report).await?;
        }
    }
    Ok(())
}
