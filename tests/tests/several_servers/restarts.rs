//! Servers that are ended and started again, one after the other, under a load: no request fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ferry_tests::load::{self, Balanced, Finds, MADE};
use http::Method;
use testkit::{Etcd, Process};

use crate::fleet::{self, PATIENCE, admins, until};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

async fn restarted_under_load(flags: &[&str], finds: Finds) -> anyhow::Result<()> {
    let Some(etcd) = Etcd::start().await? else { return Ok(()) };
    let mut servers = fleet::start(etcd.url(), 3, flags).await?;
    let callers = admins(&servers)?;
    let made = callers[0].send(Method::POST, DEFINITIONS, Some(&load::definition())).await?;
    anyhow::ensure!(made.code == 201, "{}", made.body);
    for caller in &callers {
        let served = || async { Ok((caller.get(MADE[4].collection).await?.code == 200).then_some(())) };
        until("the definition is served", PATIENCE, served).await?;
    }
    let (balanced, going) = (Balanced::new(callers.clone(), finds), Arc::new(AtomicBool::new(true)));
    let look = tokio::spawn(balanced.clone().look());
    let watching = tokio::spawn(load::watch(callers, MADE[0].collection, going.clone()));
    let mut clients = tokio::task::JoinSet::new();
    for (number, made) in MADE.iter().enumerate() {
        clients.spawn(load::work(balanced.clone(), *made, number, going.clone()));
    }
    for _ in 0..2 {
        for server in &mut servers {
            settled(&balanced).await?;
            let began = std::time::Instant::now();
            server.terminate().await?;
            println!("a server ended after {:?}", began.elapsed());
            server.start_again().await?;
        }
    }
    settled(&balanced).await?;
    going.store(false, Ordering::Relaxed);
    let failed = clients.join_all().await.concat();
    look.abort();
    let (seen, begun) = watching.await??;
    let (done, elsewhere) = (balanced.done.load(Ordering::Relaxed), balanced.elsewhere.load(Ordering::Relaxed));
    println!(
        "{done} requests, {} failed, {elsewhere} went elsewhere; a watch saw {seen} events and began {begun} times",
        failed.len()
    );
    anyhow::ensure!(failed.is_empty(), "{} of {done} failed:\n{}\n{}", failed.len(), failed.join("\n"), logs(&servers));
    anyhow::ensure!(done > 100 && seen > 20, "too little happened");
    Ok(())
}

/// Waits until all servers take their part of some more requests.
async fn settled(balanced: &Arc<Balanced>) -> anyhow::Result<()> {
    let from = balanced.done.load(Ordering::Relaxed);
    let more =
        || async { Ok((balanced.all_ready() && balanced.done.load(Ordering::Relaxed) > from + 50).then_some(())) };
    until("the load goes on", PATIENCE, more).await.map(drop)
}

fn logs(servers: &[Process]) -> String {
    servers.iter().map(Process::log).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_balancer_no_request_fails_while_servers_are_restarted() -> anyhow::Result<()> {
    restarted_under_load(&["--shutdown-delay-duration=2s", "--goaway-chance=0.02"], Finds::ByReadiness).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_know_all_servers_go_on_while_they_are_restarted() -> anyhow::Result<()> {
    restarted_under_load(&[], Finds::ByTrying).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_are_told_to_come_again_go_elsewhere() -> anyhow::Result<()> {
    restarted_under_load(&["--shutdown-send-retry-after", "--shutdown-delay-duration=500ms"], Finds::ByTrying).await
}
