//! A load on both at once, while either is restarted; and what both then show of everything there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::kinds::catalogue::rows;
use ferry_tests::load::{self, Balanced, Finds, MADE};
use http::Method;
use model::resource::{Sort, Verb};
use testkit::Caller;

use crate::upstream::{self, ADDRESS, PATIENCE, Upstream, same};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const PAUSE: Duration = Duration::from_millis(50);

/// The lists of all kinds.
pub fn everything() -> Vec<String> {
    let of_row = |row: &writes::strategy::Kind| match row.group.is_empty() {
        true => format!("/api/{}/{}", row.version, row.resource),
        false => format!("/apis/{}/{}/{}", row.group, row.version, row.resource),
    };
    let rows = rows();
    let listed = rows.iter().filter(|row| row.sort != Sort::Virtual && row.verbs.contains(&Verb::List));
    listed.map(of_row).collect()
}

/// What differs between the lists of both, apart from their versions.
pub async fn differences(ours: &Caller, theirs: &Caller) -> anyhow::Result<Vec<String>> {
    let mut out = Vec::new();
    for path in everything() {
        // At one revision: what is renewed meanwhile is not seen.
        let revision = ours.get(&path).await?.body["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned();
        let path = format!("{path}?resourceVersion={revision}&resourceVersionMatch=Exact");
        if let Err(why) = same(ours, theirs, &path).await {
            out.push(format!("{why:#}"));
        }
    }
    Ok(out)
}

async fn wait(what: &str, mut ask: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let asking = async {
        while !ask().await? {
            tokio::time::sleep(PAUSE).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, asking).await.map_err(|_| anyhow::anyhow!("it does not happen: {what}"))?
}

/// Waits until a collection is served.
pub async fn served(caller: &Caller, collection: &str) -> anyhow::Result<()> {
    wait("the collection is served", async || Ok(caller.get(collection).await?.code == 200)).await
}

async fn both_are_endpoints(caller: &Caller) -> anyhow::Result<bool> {
    let endpoints = caller.get("/api/v1/namespaces/default/endpoints/kubernetes").await?.body.to_string();
    let slice = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
    let slice = caller.get(slice).await?.body.to_string();
    Ok([endpoints, slice].iter().all(|text| text.contains("192.0.2.1\"") && text.contains(ADDRESS)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_load_each_takes_the_others_place() -> anyhow::Result<()> {
    let Some((etcd, mut ferry)) = upstream::ferry().await? else { return Ok(()) };
    let mut other = Upstream::start(&etcd, &ferry).await?;
    let callers = vec![ferry.admin()?, other.admin()?];
    let defined = callers[0].send(Method::POST, DEFINITIONS, Some(&load::definition())).await?;
    anyhow::ensure!(defined.code == 201, "{}", defined.body);
    for caller in &callers {
        served(caller, MADE[4].collection).await?;
        wait("both are endpoints", async || both_are_endpoints(caller).await).await?;
    }
    let (balanced, going) = (Balanced::new(callers.clone(), Finds::ByTrying), Arc::new(AtomicBool::new(true)));
    let look = tokio::spawn(balanced.clone().look());
    let mut watching = tokio::task::JoinSet::new();
    let mut clients = tokio::task::JoinSet::new();
    for (number, made) in MADE.iter().enumerate() {
        clients.spawn(load::work(balanced.clone(), *made, number, going.clone()));
        let (callers, going) = (callers.clone(), going.clone());
        watching.spawn(async move { load::watch(callers, made.collection, going).await });
    }
    let more = async |least: usize| {
        let from = balanced.done.load(Ordering::Relaxed);
        wait("the load goes on", async || Ok(balanced.done.load(Ordering::Relaxed) > from + least)).await
    };
    more(200).await?;
    other.terminate().await?;
    println!("upstream's server ended after {} requests", balanced.done.load(Ordering::Relaxed));
    more(100).await?;
    other.start_again().await?;
    more(200).await?;
    ferry.terminate().await?;
    println!("Ferry's server ended after {} requests", balanced.done.load(Ordering::Relaxed));
    more(100).await?;
    ferry.start_again().await?;
    more(200).await?;
    going.store(false, Ordering::Relaxed);
    let failed = clients.join_all().await.concat();
    look.abort();
    let (done, elsewhere) = (balanced.done.load(Ordering::Relaxed), balanced.elsewhere.load(Ordering::Relaxed));
    println!("{done} requests, {} failed, {elsewhere} went elsewhere", failed.len());
    anyhow::ensure!(failed.is_empty(), "{} of {done} failed:\n{}", failed.len(), failed.join("\n"));
    for watched in watching.join_all().await {
        let (seen, begun) = watched?;
        println!("a watch saw {seen} events and began {begun} times");
        anyhow::ensure!(seen > 20, "too little");
    }
    let mut differences = differences(&callers[0], &callers[1]).await?;
    differences.extend(same(&callers[0], &callers[1], MADE[4].collection).await.err().map(|why| format!("{why:#}")));
    assert!(differences.is_empty(), "{}\n{}", differences.len(), differences.join("\n"));
    Ok(())
}
