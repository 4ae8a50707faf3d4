//! Watch fan-out: many watchers of one collection, changes at an even pace, and how long each takes to reach each watcher.
//!
//! Changes keep their schedule whatever the server does, and latency counts from the moment a change was due: a server that
//! falls behind shows it. What changes is a small ConfigMap, so that the figure is about delivery and not about bytes.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use hyper::Method;

use crate::bench::connection::{Connection, JSON};
use crate::bench::lines::Lines;
use crate::bench::measure::Stretch;
use crate::bench::report::{Report, count};
use crate::bench::{Flags, Target};

/// Where a change's number is in its object, and so in each event.
const MARK: &[u8] = b"\"bench-number\":\"";
/// After the last change, watchers get this long for what they still lack.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Seen {
    /// When change i was due.
    due: Vec<Instant>,
    latencies: Vec<Duration>,
    /// Watchers that have the last change.
    complete: usize,
}

pub(super) async fn fan_out(
    target: &Target,
    namespace: &str,
    watchers: usize,
    flags: &Flags,
    report: &mut Report,
) -> anyhow::Result<()> {
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    let changes = (flags.events_per_second * flags.watch_seconds) as usize;
    let mut writer = target.access.http1().await?;
    let list = writer.call(Method::GET, &format!("{path}?limit=1"), None).await?;
    let list: serde_json::Value = serde_json::from_slice(&list)?;
    let from = list["metadata"]["resourceVersion"].as_str().context("a list without resourceVersion")?.to_owned();

    let seen = Rc::new(RefCell::new(Seen::default()));
    let watch = format!("{path}?watch=true&resourceVersion={from}&timeoutSeconds=600");
    let mut connections: Vec<Connection> = Vec::new();
    let mut readers = tokio::task::JoinSet::new();
    let local = tokio::task::LocalSet::new();
    for i in 0..watchers {
        if i % flags.per_connection == 0 {
            connections.push(target.access.http2().await?);
        }
        let connection = connections.last_mut().context("pushed above")?;
        let answer = connection.send(Method::GET, &watch, None).await?;
        if !answer.status().is_success() {
            bail!("watch {i}: {}", answer.status());
        }
        readers.spawn_local_on(read(Lines::new(answer.into_body()), seen.clone(), changes), &local);
    }
    let stretch = Stretch::begin(&target.processes);
    let pace = Duration::from_secs(1) / flags.events_per_second;
    local
        .run_until(async {
            let begin = Instant::now();
            for i in 0..changes {
                let due = begin + pace * i as u32;
                tokio::time::sleep_until(due.into()).await;
                seen.borrow_mut().due.push(due);
                let name = format!("w{watchers}-{i}");
                let object = format!(
                    r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}},"data":{{"bench-number":"{i}"}}}}"#
                );
                writer.call(Method::POST, &path, Some((JSON, Bytes::from(object)))).await?;
            }
            let end = Instant::now() + PATIENCE;
            while seen.borrow().complete < watchers && Instant::now() < end {
                if let Ok(Some(ended)) = tokio::time::timeout_at(end.into(), readers.join_next()).await {
                    ended??;
                }
            }
            anyhow::Ok(())
        })
        .await?;
    let latencies = std::mem::take(&mut seen.borrow_mut().latencies);
    let missing = watchers * changes - latencies.len();
    let measured = stretch.end(latencies);
    let shape = format!("watch, {watchers} watchers, {} changes/s: each event", flags.events_per_second);
    report.stretch(&target.name, &shape, &measured);
    if missing > 0 {
        report.line(&target.name, &format!("{shape}: lost"), vec![count("events that never came", missing)]);
    }
    Ok(())
}

/// Reads one watch until the last change has come.
async fn read(mut lines: Lines, seen: Rc<RefCell<Seen>>, changes: usize) -> anyhow::Result<()> {
    let mut got = 0;
    while got < changes {
        let Some(line) = lines.next().await? else { bail!("a watch ended after {got} of {changes} changes") };
        if let Some(number) = number_in(&line) {
            let mut seen = seen.borrow_mut();
            let latency = seen.due.get(number).map_or(Duration::ZERO, Instant::elapsed);
            seen.latencies.push(latency);
            got += 1;
        }
    }
    seen.borrow_mut().complete += 1;
    Ok(())
}

/// The number of the change in an event; the mark is near its end.
fn number_in(line: &[u8]) -> Option<usize> {
    let at = line.windows(MARK.len()).rposition(|w| w == MARK)? + MARK.len();
    let digits = line[at..].split(|b| *b == b'"').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::number_in;

    #[test]
    fn the_number_of_a_change_is_found_in_its_event_and_not_in_managed_fields() {
        let event = br#"{"type":"ADDED","object":{"metadata":{"managedFields":[{"fieldsV1":{"f:data":{"f:bench-number":{}}}}]},"data":{"bench-number":"417"}}}"#;
        assert_eq!(number_in(event), Some(417));
        assert_eq!(number_in(br#"{"type":"BOOKMARK","object":{"f:bench-number":{}}}"#), None);
    }
}
