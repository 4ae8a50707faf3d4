//! Sixteen clients over HTTP against a real server process, or several on one etcd or on a replicated store, that are killed
//! again and again: what they saw must be what a correct server could have shown (`ferry_tests::history` says what that is).
//! Of several servers each request goes to any: writes are seen through the others, lists and watches go on there.
//!
//! `FERRY_LINEARIZABILITY_SECONDS` makes it longer, `FERRY_LINEARIZABILITY_SEED` repeats the choices of a run; a run
//! that fails leaves its whole history in a file.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod operators;
mod replicated;
mod watchers;
mod world;

use std::time::Duration;

use ferry_tests::history::{History, Outcome, Seen, Start};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use testkit::{Caller, Etcd, Process};
use world::World;

/// How often history is compacted away: often enough for a short run.
const FLAGS: &[&str] = &["--etcd-compaction-interval=2s"];
const OPERATORS: usize = 9;

/// The server's process; nothing when it is run as a test.
#[test]
fn server() -> anyhow::Result<()> {
    testkit::serve()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded() -> anyhow::Result<()> {
    check(vec![Process::start(None, FLAGS).await?]).await
}

/// Three servers, each with a member of the replicated store: what is written on one is read on another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicated() -> anyhow::Result<()> {
    let certificates = replicated::Certificates::new()?;
    let ports = replicated::free_ports(3)?;
    let mut servers = Vec::new();
    for port in &ports {
        let mut flags = certificates.flags(*port);
        flags.extend(FLAGS.iter().map(|flag| (*flag).to_owned()));
        if *port != ports[0] {
            flags.push(format!("--cluster-join=127.0.0.1:{}", ports[0]));
        }
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        servers.push(Process::start(None, &flags).await?);
    }
    check(servers).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd() -> anyhow::Result<()> {
    let Some(etcd) = Etcd::start().await? else { return Ok(()) };
    check(vec![Process::start(Some(etcd.url()), FLAGS).await?]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_on_one_etcd() -> anyhow::Result<()> {
    let Some(etcd) = Etcd::start().await? else { return Ok(()) };
    let mut servers = Vec::new();
    for number in 1..=3 {
        let address = format!("--advertise-address=192.0.2.{number}");
        servers.push(Process::start(Some(etcd.url()), &[FLAGS, &[address.as_str()]].concat()).await?);
    }
    check(servers).await
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

async fn check(mut servers: Vec<Process>) -> anyhow::Result<()> {
    let seed = number("FERRY_LINEARIZABILITY_SEED").unwrap_or_else(|| rand::rng().random());
    let seconds = number("FERRY_LINEARIZABILITY_SECONDS").unwrap_or(12);
    let mut random = StdRng::seed_from_u64(seed);
    let world = World::new();
    let callers = servers.iter().map(Process::admin).collect::<anyhow::Result<Vec<_>>>()?;
    world.prepare(&callers[0]).await?;
    let mut clients = tokio::task::JoinSet::new();
    for (number, role) in watchers::ROLES.iter().enumerate() {
        clients.spawn(watchers::run(world.clone(), own(&servers)?, number, role, random.random()));
    }
    let mut operators = tokio::task::JoinSet::new();
    for number in 0..OPERATORS {
        let client = watchers::ROLES.len() + number;
        operators.spawn(operators::run(world.clone(), own(&servers)?, client, random.random()));
    }
    let kills = (seconds / 4).max(2);
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(random.random_range(500..1_000 * seconds / kills))).await;
        let server = random.random_range(0..servers.len());
        let server = &mut servers[server];
        server.kill()?;
        server.start_again().await?;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.stop_operators();
    while let Some(ended) = operators.join_next().await {
        ended?;
    }
    world.finish(&callers[0]).await?;
    let mut stuck = Vec::new();
    while let Some(ended) = clients.join_next().await {
        stuck.extend(ended?.err());
    }
    let history = world.history(seed);
    let mut faults = history.faults();
    faults.extend(stuck);
    faults.extend(too_little(&history));
    if faults.is_empty() {
        return Ok(());
    }
    let file = std::env::temp_dir().join(format!("ferry-history-{seed}.json"));
    std::fs::write(&file, serde_json::to_vec_pretty(&history)?)?;
    let shown: Vec<String> = faults.iter().take(10).map(|fault| format!("- {fault}")).collect();
    anyhow::bail!(
        "{} faults with seed {seed}, the history is in {}:\n{}\nserver's log:\n{}",
        faults.len(),
        file.display(),
        shown.join("\n"),
        servers.iter().map(Process::log).collect::<String>()
    )
}

/// Connections of a client's own to each server.
fn own(servers: &[Process]) -> anyhow::Result<Vec<Caller>> {
    servers.iter().map(Process::admin).collect()
}

/// A run in which little happened says little.
fn too_little(history: &History) -> Vec<String> {
    let ops = |wanted: fn(&Outcome) -> bool| history.ops.iter().filter(|op| wanted(&op.outcome)).count();
    let frames = || history.watches.iter().flat_map(|watch| watch.frames.iter().map(|(_, seen)| seen));
    let states = history.watches.iter().filter(|watch| watch.start == Start::State).count();
    let seen = [
        ("writes", ops(|o| matches!(o, Outcome::Item(_))), 200),
        ("deletes", ops(|o| matches!(o, Outcome::Deleted { .. })), 20),
        ("lists", ops(|o| matches!(o, Outcome::Pages(_))), 50),
        ("lists in pages", ops(|o| matches!(o, Outcome::Pages(pages) if pages.len() > 1)), 5),
        ("refusals", ops(|o| matches!(o, Outcome::Refused { .. })), 20),
        ("events", frames().filter(|s| !matches!(s, Seen::Bookmark { .. } | Seen::Error { .. })).count(), 500),
        ("watches that begin with the state", states, 3),
    ];
    let counts: Vec<String> = seen.iter().map(|(what, count, _)| format!("{count} {what}")).collect();
    println!("{} with seed {}", counts.join(", "), history.seed);
    let few = seen.iter().filter(|(_, count, least)| count < least);
    few.map(|(what, count, least)| format!("only {count} {what}, {least} are wanted")).collect()
}
