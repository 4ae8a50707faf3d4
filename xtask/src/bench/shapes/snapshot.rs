//! A snapshot of a full server, taken while it serves, and the server that comes of it. Ferry's own store alone.

use std::time::Instant;

use anyhow::{Context, bail};

use crate::bench::connection::Encoding;
use crate::bench::report::{Report, bytes, seconds};
use crate::bench::{Target, objects};

/// Takes one, restores it into a new data directory, and starts on that.
pub(super) async fn save_and_restore(
    target: &mut Target,
    namespace: &str,
    count: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let Some(launcher) = target.launcher.clone() else { return Ok(()) };
    let run = |arguments: &[String]| -> anyhow::Result<Option<String>> {
        let Some(mut command) = launcher.own_command("snapshot") else { return Ok(None) };
        let output = command.args(arguments).output().context("ferry snapshot")?;
        if !output.status.success() {
            bail!("ferry snapshot {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
    };
    let (target_flag, data_flag) = (launcher.flag("target", "snapshots"), launcher.flag("data-dir", "data"));
    let save = ["save".to_owned(), target_flag, launcher.flag("kubeconfig", "admin.conf"), data_flag.clone()];
    target.processes.reset_peak();
    let before = target.processes.resident();
    let begin = Instant::now();
    let Some(told) = run(&save)? else { return Ok(()) };
    let mut values = vec![seconds("saved and verified", begin.elapsed())];
    let file = told.lines().next().unwrap_or_default().to_owned();
    values.push(bytes("size", std::fs::metadata(&file).context(file.clone())?.len()));
    if let Some((peak, before)) = target.processes.peak().zip(before) {
        values.push(bytes("server's more memory", peak.saturating_sub(before)));
    }
    drop(target.launched.take());
    launcher.remove_data()?;
    let begin = Instant::now();
    run(&["restore".to_owned(), file, data_flag])?;
    values.push(seconds("restored", begin.elapsed()));
    let launched = launcher.start().await?;
    values.push(seconds("restored and serving", begin.elapsed()));
    target.processes = launched.processes();
    target.launched = Some(launched);
    let (size, _) = target.access.http1().await?.drain(&objects::pods(namespace), Encoding::Json).await?;
    values.push(bytes("first list", size as u64));
    report.line(&target.name, &format!("snapshot of {count} pods"), values);
    Ok(())
}
