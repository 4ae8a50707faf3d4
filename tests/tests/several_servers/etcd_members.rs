//! An etcd of three members, of which one is lost: the servers go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;
use testkit::Etcd;

use crate::fleet::{self, PATIENCE, admins, until};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_go_on_when_a_member_of_their_etcd_is_lost() -> anyhow::Result<()> {
    for member in 0..3 {
        let Some(mut etcd) = Etcd::of_members(3).await? else { return Ok(()) };
        let servers = fleet::start(etcd.url(), 2, &["--etcd-compaction-interval=2s"]).await?;
        let callers = admins(&servers)?;
        let going = Arc::new(AtomicBool::new(true));
        let mut writers = tokio::task::JoinSet::new();
        for (number, caller) in callers.iter().cloned().enumerate() {
            let going = going.clone();
            writers.spawn(async move {
                let (mut made, mut failed, mut longest, mut last) = (Vec::new(), 0, Duration::ZERO, Instant::now());
                while going.load(Ordering::Relaxed) {
                    let name = format!("m-{number}-{}", made.len() + failed);
                    let answer = caller.send(Method::POST, MAPS, Some(&json!({"metadata": {"name": name}}))).await?;
                    if answer.code == 201 {
                        made.push(name);
                        longest = longest.max(last.elapsed());
                        last = Instant::now();
                    } else {
                        // What happened to it is not known: no name is used twice.
                        anyhow::ensure!(answer.code >= 500, "{}", answer.body);
                        failed += 1;
                    }
                }
                anyhow::Ok((made, failed, longest))
            });
        }
        let many = |least: usize| {
            let callers = &callers;
            async move {
                let list = callers[0].get(MAPS).await?;
                let there = list.body["items"].as_array().map_or(0, Vec::len);
                Ok((list.code == 200 && there >= least).then_some(there))
            }
        };
        let (there, _) = until("there is a load", PATIENCE, || many(50)).await?;
        etcd.kill_member(member)?;
        let (there, took) = until("writes go on", PATIENCE, || many(there + 100)).await?;
        println!("without member {member}: {there} objects after {took:?}");
        going.store(false, Ordering::Relaxed);
        let mut names = Vec::new();
        while let Some(done) = writers.join_next().await {
            let (made, failed, longest) = done??;
            println!("{} written, {failed} failed, the longest pause {longest:?}", made.len());
            names.extend(made);
        }
        // What was acknowledged is there, on both.
        for caller in &callers {
            let list = caller.get(MAPS).await?.body;
            let there: std::collections::BTreeSet<&str> =
                list["items"].as_array().unwrap().iter().filter_map(|item| item["metadata"]["name"].as_str()).collect();
            let lost: Vec<&String> = names.iter().filter(|name| !there.contains(name.as_str())).collect();
            assert_eq!(lost, Vec::<&String>::new());
            assert_eq!(caller.get("/readyz").await?.code, 200);
        }
    }
    Ok(())
}
