//! Servers at rest: neither changes what the other has made, when it starts and afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use testkit::Etcd;

use crate::load::differences;
use crate::upstream::{self, Upstream};

/// What is written again and again: who is there, and how far history is compacted.
const RENEWED: &[&str] = &[
    "/registry/masterleases/",
    "/registry/peerserverleases/",
    "/registry/leases/kube-system/apiserver-",
    // They come and go with the servers.
    "/registry/services/endpoints/default/kubernetes",
    "/registry/endpointslices/default/kubernetes",
    // Told of a server's life, where it tells any.
    "/registry/events/",
    // Upstream's says in their status which of them name a level that there is.
    "/registry/flowschemas/",
];
/// Longer than anything that servers do by the clock, but what they do every few minutes.
const REST: Duration = Duration::from_secs(25);

async fn state(etcd: &Etcd) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let all = etcd.all("/registry/").await?.into_iter();
    Ok(all.filter(|(key, _)| !RENEWED.iter().any(|renewed| key.starts_with(renewed))).collect())
}

fn changed(before: &BTreeMap<String, Vec<u8>>, after: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let keys: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    keys.into_iter().filter(|key| before.get(*key) != after.get(*key)).cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_after_the_other_they_leave_what_is_there() -> anyhow::Result<()> {
    let Some((etcd, mut ferry)) = upstream::ferry().await? else { return Ok(()) };
    let by_ferry = state(&etcd).await?;
    ferry.terminate().await?;
    let mut other = Upstream::start(&etcd, &ferry).await?;
    let by_both = state(&etcd).await?;
    let touched: Vec<String> =
        changed(&by_ferry, &by_both).into_iter().filter(|key| by_ferry.contains_key(key)).collect();
    let more: Vec<&String> = by_both.keys().filter(|key| !by_ferry.contains_key(*key)).collect();
    println!("upstream's server adds {more:?}");
    assert_eq!(touched, Vec::<String>::new(), "upstream's server changes what Ferry's has made");
    other.terminate().await?;
    ferry.start_again().await?;
    let again = state(&etcd).await?;
    assert_eq!(changed(&by_both, &again), Vec::<String>::new(), "Ferry's changes what upstream's has made");
    other.start_again().await?;
    let differences = differences(&ferry.admin()?, &other.admin()?).await?;
    assert!(differences.is_empty(), "{}\n{}", differences.len(), differences.join("\n"));

    let before = state(&etcd).await?;
    // What would be changed by the clock has its time.
    tokio::time::sleep(REST).await;
    let after = state(&etcd).await?;
    assert_eq!(changed(&before, &after), Vec::<String>::new(), "they do not agree on it");
    Ok(())
}
