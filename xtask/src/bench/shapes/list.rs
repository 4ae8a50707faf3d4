//! Whole lists, and the first list of a server that was killed.

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::bench::measure::Stretch;
use crate::bench::process::Processes;
use crate::bench::report::{Report, megabytes, millis};
use crate::bench::{Target, limit, objects};

const TIMES: usize = 7;

/// Lists all pods of the namespace, some times; the first one, which may have to encode, is told apart.
pub(super) async fn list(target: &Target, namespace: &str, count: usize, report: &mut Report) -> anyhow::Result<()> {
    let mut connection = target.access.http1().await?;
    let path = objects::pods(namespace);
    let begin = Instant::now();
    let (bytes, _) = connection.drain(&path).await?;
    let first = begin.elapsed();
    let before = target.processes.resident();
    target.processes.reset_peak();
    let stretch = Stretch::begin(&target.processes);
    let mut latencies = Vec::new();
    for _ in 0..TIMES {
        let begin = Instant::now();
        connection.drain(&path).await?;
        latencies.push(begin.elapsed());
    }
    let measured = stretch.end(latencies);
    let median = measured.percentile(0.5);
    let memory = target.processes.peak().zip(before).map_or(String::new(), |(peak, before)| {
        format!(", {} more memory meanwhile", megabytes(peak.saturating_sub(before)))
    });
    let cpu = measured.server_cpu.map_or(String::new(), |cpu| format!(", server CPU {}", millis(measured.each(cpu))));
    let value = format!("{} of {} (the first {}){cpu}{memory}", millis(median), megabytes(bytes as u64), millis(first));
    let verdict = if count == 10_000 { limit(&target.name, median, Duration::from_millis(40)) } else { None };
    report.figure(&target.name, &format!("list {count} pods"), value, verdict);
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
    target.processes = Processes::new(&launched.pids());
    target.launched = Some(launched);
    let (bytes, _) = target.access.http1().await?.drain(&objects::pods(namespace)).await?;
    let value =
        format!("ready {}, first list ({}) {}", millis(ready), megabytes(bytes as u64), millis(begin.elapsed()));
    report.figure(&target.name, &format!("kill -9 with {count} pods, start again"), value, None);
    let resident = target.processes.resident().context("a server that was started has a process")?;
    report.figure(&target.name, &format!("memory with {count} pods, started again"), megabytes(resident), None);
    Ok(())
}
