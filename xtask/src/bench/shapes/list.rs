//! Whole lists, and the first list of a server that was killed.

use std::time::Instant;

use crate::bench::connection::Encoding;
use crate::bench::measure::Stretch;
use crate::bench::report::{Report, bytes, seconds};
use crate::bench::{Target, objects};

const TIMES: usize = 7;

/// Lists all pods of the namespace, some times; the first one, which may have to encode, is told apart.
pub(super) async fn list(
    target: &Target,
    namespace: &str,
    count: usize,
    encoding: Encoding,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut connection = target.access.http1().await?;
    let path = objects::pods(namespace);
    let begin = Instant::now();
    let (size, _) = connection.drain(&path, encoding).await?;
    let first = begin.elapsed();
    let before = target.processes.resident();
    target.processes.reset_peak();
    let stretch = Stretch::begin(&target.processes);
    let mut latencies = Vec::new();
    for _ in 0..TIMES {
        let begin = Instant::now();
        connection.drain(&path, encoding).await?;
        latencies.push(begin.elapsed());
    }
    let measured = stretch.end(latencies);
    let mut values =
        vec![seconds("median", measured.percentile(0.5)), seconds("first", first), bytes("size", size as u64)];
    if let Some(cpu) = &measured.server_cpu {
        values.push(seconds("CPU each", measured.each(cpu.iter().sum())));
    }
    if let Some((peak, before)) = target.processes.peak().zip(before) {
        values.push(bytes("more memory", peak.saturating_sub(before)));
    }
    report.line(&target.name, &format!("list {count} pods, {}", encoding.name()), values);
    Ok(())
}

/// `kill -9`, start again on the same data: until it is ready and has sent its first list.
pub(super) async fn restart(
    target: &mut Target,
    namespace: &str,
    count: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let Some(launcher) = target.launcher.as_ref() else { return Ok(()) };
    drop(target.launched.take()); // dropping is SIGKILL
    let begin = Instant::now();
    let launched = launcher.start().await?;
    let ready = launched.ready_after;
    target.processes = launched.processes();
    target.launched = Some(launched);
    let (size, _) = target.access.http1().await?.drain(&objects::pods(namespace), Encoding::Json).await?;
    let mut values = vec![seconds("ready", ready), seconds("first list", begin.elapsed()), bytes("size", size as u64)];
    values.extend(target.processes.resident().map(|resident| bytes("resident", resident)));
    report.line(&target.name, &format!("kill -9 with {count} pods, start again"), values);
    Ok(())
}
