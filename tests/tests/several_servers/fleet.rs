//! Servers that are started at once, and waiting for what they show.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Context;
use testkit::{Caller, Process};

/// Between tries, not instead of them.
const PAUSE: Duration = Duration::from_millis(20);
/// Far more than anything takes that has no bound of its own; only to end a test that hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// So many servers on one etcd, started at once; they advertise 192.0.2.1, 192.0.2.2 and so on.
pub async fn start(etcd: &str, count: usize, more: &[&str]) -> anyhow::Result<Vec<Process>> {
    let mut starting = tokio::task::JoinSet::new();
    for number in 1..=count {
        let (etcd, mut flags) = (etcd.to_owned(), vec![format!("--advertise-address=192.0.2.{number}")]);
        flags.extend(more.iter().map(|flag| (*flag).to_owned()));
        starting.spawn(async move {
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            (number, Process::start(Some(&etcd), &flags).await)
        });
    }
    let mut started = starting.join_all().await;
    started.sort_by_key(|(number, _)| *number);
    started.into_iter().map(|(_, server)| server).collect()
}

/// A client of each server, which may do everything.
pub fn admins(servers: &[Process]) -> anyhow::Result<Vec<Caller>> {
    servers.iter().map(Process::admin).collect()
}

/// Asks until there is an answer, and says how long that took.
pub async fn until<T, F>(what: &str, within: Duration, mut ask: impl FnMut() -> F) -> anyhow::Result<(T, Duration)>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let began = Instant::now();
    let asking = async {
        loop {
            if let Some(answer) = ask().await? {
                return anyhow::Ok(answer);
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let answer =
        tokio::time::timeout(within, asking).await.with_context(|| format!("not within {within:?}: {what}"))??;
    Ok((answer, began.elapsed()))
}
