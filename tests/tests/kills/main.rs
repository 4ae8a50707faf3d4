//! The controller manager, the scheduler and the API server are killed fifty times (`kill -9`) while jobs count, a
//! StatefulSet and DaemonSets roll, and what is deleted goes: each index succeeds once, order and budgets are kept, nothing
//! is left over (`ferry_tests::ledger` says what exactly is owed).
//!
//! A kill follows a step of the controllers, not a time: it comes when one of them is at work, on any machine.
//! `FERRY_KILLS_SEED` repeats the choices of a run.

mod kubelets;
mod workloads;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use ferry_tests::ledger::{Budget, Pod, Step};
use http::Method;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use testkit::{Caller, Main};
use tokio_util::sync::CancellationToken;

use kubelets::{Book, Kubelets};
use workloads::{COLLECTIONS, Done, Workloads, uid};
use world::{LEASE, Pair, Victim, World, ask, revision};

const KILLS: usize = 50;
/// Of these, so many are kept for when all is deleted.
const LAST_KILLS: usize = 6;
const NODES: usize = 20;

/// A component's process; nothing when it is run as a test.
#[test]
fn server() -> anyhow::Result<()> {
    let manager: Main = |argv| Box::pin(controller_manager::main(argv));
    let scheduler: Main = |argv| Box::pin(scheduler::main(argv));
    testkit::serve_one_of(&[("controller-manager", manager), ("scheduler", scheduler)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills() -> anyhow::Result<()> {
    let given = std::env::var("FERRY_KILLS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| rand::rng().random());
    println!("FERRY_KILLS_SEED={seed}");
    let mut world = World::start().await?;
    let kubelets = Kubelets::new(world.admin()?, seed);
    let run = tokio::time::timeout(workloads::LIMIT, check(&mut world, &kubelets, seed)).await;
    let outcome = run.unwrap_or_else(|_| Err(anyhow::anyhow!("it does not come to an end")));
    let admin = world.admin()?;
    if let Err(error) = outcome {
        anyhow::bail!("{error:#}\nwith seed {seed}\n{}\n{}", left(&admin).await, world.logs());
    }
    Ok(())
}

/// With leader election as it is by default: who was killed is replaced when its lease is over, who ends well at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_manager_takes_over() -> anyhow::Result<()> {
    const COMPLETIONS: u32 = 60;
    let mut pair = Pair::start().await?;
    let admin = pair.server.admin()?;
    let kubelets = Kubelets::new(pair.server.admin()?, 0);
    let leases = kubelets.nodes(vec!["node-00".to_owned(), "node-01".to_owned()]).await?;
    let takeovers = async {
        workloads::namespace(&admin).await?;
        let mut holders = vec![world::until(&admin, LEASE, |lease| !lease.is_null()).await];
        for name in ["killed", "ended"] {
            let job = world::create(&admin, COLLECTIONS[0], &workloads::job(name, COMPLETIONS, 20, "Indexed")).await?;
            let begun = kubelets.read(|book| book.steps.len());
            let counts =
                |book: &Book| book.steps[begun..].iter().filter(|(_, step)| *step == Step::Released).count() >= 10;
            kubelets.until(counts).await;
            let since = std::time::Instant::now();
            match name {
                "killed" => pair.managers[0].kill()?,
                _ => pair.managers[1].terminate().await?,
            }
            let before = holders.last().map(holder).unwrap_or_default();
            let next = |lease: &Value| !holder(lease).is_empty() && holder(lease) != before;
            holders.push(world::until(&admin, LEASE, next).await);
            println!("{name}: another leads after {} ms", since.elapsed().as_millis());
            if name == "killed" {
                pair.managers[0].start_again()?;
            }
            let done = world::until(&admin, &workloads::path("jobs", name), workloads::completed).await;
            anyhow::ensure!(uid(&done) == uid(&job), "{done}");
            shown(&admin, &kubelets).await?;
            let faults =
                kubelets.read(|book| [book.ledger.job_faults(&done, COMPLETIONS), book.ledger.identities()].concat());
            anyhow::ensure!(faults.is_empty(), "{name}: {faults:#?}");
        }
        let transitions: Vec<_> = holders.iter().map(|lease| lease["spec"]["leaseTransitions"].as_u64()).collect();
        anyhow::ensure!(transitions == [Some(0), Some(1), Some(2)], "{holders:#?}");
        anyhow::Ok(())
    };
    let outcome = tokio::select! {
        ended = kubelets.clone().run() => ended.context("the kubelets ended"),
        () = leases => anyhow::bail!("the leases ended"),
        outcome = tokio::time::timeout(workloads::LIMIT, takeovers) => outcome.unwrap_or_else(|_| anyhow::bail!("it does not end")),
    };
    outcome.with_context(|| format!("{}\n{}", pair.managers[0].log(), pair.managers[1].log()))
}

/// Who leads.
fn holder(lease: &Value) -> String {
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

async fn check(world: &mut World, kubelets: &Kubelets, seed: u64) -> anyhow::Result<()> {
    let admin = world.admin()?;
    let nodes: BTreeSet<String> = (0..NODES).map(|number| format!("node-{number:02}")).collect();
    let leases = kubelets.nodes(nodes.iter().cloned().collect()).await?;
    tokio::select! {
        ended = kubelets.clone().run() => ended.context("the kubelets ended"),
        () = leases => anyhow::bail!("the leases ended"),
        outcome = scenario(world, &admin, kubelets, &nodes, seed) => outcome,
    }
}

async fn scenario(
    world: &mut World,
    admin: &Caller,
    kubelets: &Kubelets,
    nodes: &BTreeSet<String>,
    seed: u64,
) -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let began = std::time::Instant::now();
    let workloads = Workloads::create(admin).await?;
    let all = [&workloads.indexed, &workloads.plain, &workloads.stateful, &workloads.sparing, &workloads.surging];
    let owners: Vec<String> = all.iter().map(|object| uid(object).to_owned()).collect();
    let halfway = random.random_range(3..15);
    let mut killed = Killed::default();

    let over = CancellationToken::new();
    let work = async {
        let done = workloads::run(admin, NODES as u64, halfway).await;
        over.cancel();
        done
    };
    let kills = kill(world, kubelets, &mut random, KILLS - LAST_KILLS, Some(&owners), &over, &mut killed);
    let (done, ()) = tokio::try_join!(work, kills)?;
    let (worked, kills_at_work) = (began.elapsed(), killed.all());
    let mut faults = faults(admin, kubelets, &workloads, &done, nodes).await?;
    report(&mut faults, kubelets, &killed)?;

    let over = CancellationToken::new();
    let going = async {
        let gone = workloads::delete(admin).await;
        over.cancel();
        gone
    };
    let left = KILLS - killed.all();
    tokio::try_join!(going, kill(world, kubelets, &mut random, left, None, &over, &mut killed))?;
    faults.extend(kubelets.read(|book| book.ledger.identities()));
    report(&mut faults, kubelets, &killed)?;
    world.alive()?;
    println!(
        "{kills_at_work} kills in {} s of work, {} until all was gone, after {} s: {:?}; {} events, {} pods ran",
        worked.as_secs(),
        killed.all(),
        began.elapsed().as_secs(),
        killed.0,
        kubelets.read(|book| book.ledger.events()),
        kubelets.read(|book| book.ledger.began()),
    );
    // A run in which they came when nothing was done says little.
    anyhow::ensure!(killed.all() == KILLS, "only {} kills found something at work", killed.all());
    anyhow::ensure!(kills_at_work >= KILLS * 2 / 5, "only {kills_at_work} kills while the workloads were at work");
    Ok(())
}

/// How often each was killed.
#[derive(Default)]
struct Killed(BTreeMap<Victim, usize>);

impl Killed {
    fn all(&self) -> usize {
        self.0.values().sum()
    }
}

/// Kills so many times, each after some steps of the victim's: of one workload's, so that those that take few are met in
/// the middle too, or of anything. It ends early if all is over.
async fn kill(
    world: &mut World,
    kubelets: &Kubelets,
    random: &mut StdRng,
    kills: usize,
    owners: Option<&[String]>,
    over: &CancellationToken,
    killed: &mut Killed,
) -> anyhow::Result<()> {
    for _ in 0..kills {
        let victim = match random.random_range(0..20) {
            0..2 => Victim::Server,
            2..5 if owners.is_some() => Victim::Scheduler,
            _ => Victim::Manager,
        };
        let (owner, few, many) = match owners {
            // Few enough that the last comes before all is gone.
            None => (None, random.random_range(1..=60), usize::MAX),
            Some(owners) => match random.random_range(0..8) {
                0..3 => (owners.first(), random.random_range(1..=60), 80),
                3 => (owners.get(1), random.random_range(1..=20), 80),
                4..6 => (owners.get(2), random.random_range(1..=3), 80),
                6 => (owners.get(3), random.random_range(1..=4), 80),
                _ => (owners.get(4), random.random_range(1..=4), 80),
            },
        };
        let begun = kubelets.read(|book| book.steps.len());
        let enough = |book: &Book| {
            let since = book.steps.get(begun..).unwrap_or_default();
            let own = since.iter().filter(|(_, step)| does(victim, *step));
            let (of_owner, all) = own
                .fold((0, 0), |(of, all), (by, _)| (of + usize::from(owner.is_none_or(|owner| owner == by)), all + 1));
            of_owner >= few || all >= many
        };
        tokio::select! {
            () = kubelets.until(enough) => {}
            () = over.cancelled() => return Ok(()),
        }
        world.kill(victim).await?;
        *killed.0.entry(victim).or_default() += 1;
    }
    Ok(())
}

/// Whether a step is the victim's.
fn does(victim: Victim, step: Step) -> bool {
    match victim {
        Victim::Server => true,
        Victim::Scheduler => step == Step::Bound,
        Victim::Manager => matches!(step, Step::Made | Step::Released | Step::Deleting | Step::Gone),
    }
}

fn report(faults: &mut Vec<String>, kubelets: &Kubelets, killed: &Killed) -> anyhow::Result<()> {
    faults.sort();
    faults.dedup();
    let shown: Vec<String> = faults.iter().take(30).map(|fault| format!("- {fault}")).collect();
    let events = kubelets.read(|book| book.ledger.events());
    anyhow::ensure!(
        faults.is_empty(),
        "{} faults after {:?} kills and {events} events:\n{}",
        faults.len(),
        killed.0,
        shown.join("\n")
    );
    Ok(())
}

/// What is wrong when all is done.
async fn faults(
    admin: &Caller,
    kubelets: &Kubelets,
    workloads: &Workloads,
    done: &Done,
    nodes: &BTreeSet<String>,
) -> anyhow::Result<Vec<String>> {
    let there = shown(admin, kubelets).await?;
    let mut faults = kubelets.read(|book| {
        let ledger = &book.ledger;
        let mut faults = ledger.identities();
        let named = |name: &'static str, faults: Vec<String>| faults.into_iter().map(move |f| format!("{name}: {f}"));
        let mut all: Vec<String> = Vec::new();
        all.extend(named("indexed", ledger.job_faults(&done.indexed, workloads::COMPLETIONS)));
        all.extend(named("plain", ledger.job_faults(&done.plain, workloads::MORE_COMPLETIONS)));
        let owner = uid(&workloads.stateful);
        all.extend(named("ordered", ledger.stateful_faults(owner, workloads::REPLICAS, i64::MAX)));
        for (name, set, budget) in [
            ("sparing", &done.sparing, Budget { unavailable: workloads::MAX_UNAVAILABLE, surge: 0 }),
            ("surging", &done.surging, Budget { unavailable: 0, surge: workloads::MAX_SURGE }),
        ] {
            let owner = uid(&set.set);
            all.extend(named(name, ledger.daemon_faults(owner, nodes, budget, set.from, revision(&set.set))));
            all.extend(named(name, ledger.daemon_end_faults(owner, nodes, &set.old)));
        }
        faults.extend(all);
        faults
    });
    faults.extend(owners(&there));
    faults.extend(histories(&there, done));
    Ok(faults)
}

/// What there is, when the ledger has seen all of it.
async fn shown(admin: &Caller, kubelets: &Kubelets) -> anyhow::Result<Vec<Value>> {
    loop {
        let mut there = Vec::new();
        for collection in COLLECTIONS {
            let mut list = ask(admin, &Method::GET, collection, None).await.body;
            let kind = list["kind"].as_str().context("a list")?.trim_end_matches("List").to_owned();
            let items = list["items"].as_array_mut().context("a list")?;
            items.iter_mut().for_each(|item| item["kind"] = kind.clone().into());
            there.append(items);
        }
        let pods: BTreeMap<String, Pod> = there
            .iter()
            .filter(|object| object["kind"] == "Pod")
            .map(|pod| (uid(pod).to_owned(), Pod::of(pod)))
            .collect();
        let same = |book: &Book| {
            book.ledger.pods().count() == pods.len() && book.ledger.pods().all(|pod| pods.get(&pod.uid) == Some(pod))
        };
        if kubelets.read(same) {
            return Ok(there);
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// Everything that is not asked for by hand has a controller that is there.
fn owners(there: &[Value]) -> Vec<String> {
    let uids: BTreeSet<&str> = there.iter().map(uid).collect();
    let owned = there
        .iter()
        .filter(|object| ["Pod", "ReplicaSet", "ControllerRevision"].iter().any(|kind| object["kind"] == *kind));
    let orphaned = owned.filter(|object| {
        let owners = object["metadata"]["ownerReferences"].as_array();
        !owners.into_iter().flatten().any(|o| o["controller"] == true && uids.contains(o["uid"].as_str().unwrap_or("")))
    });
    orphaned.map(|object| format!("{} {} has no owner", object["kind"], object["metadata"]["name"])).collect()
}

/// Each template has one revision, numbered in order; that of the Deployment one ReplicaSet.
fn histories(there: &[Value], done: &Done) -> Vec<String> {
    let mut faults = Vec::new();
    let of = |kind: &str, owner: &Value| -> Vec<&Value> {
        let is = |o: &&Value| o["kind"] == kind && o["metadata"]["ownerReferences"][0]["uid"] == uid(owner);
        there.iter().filter(is).collect()
    };
    for (set, templates) in [(&done.stateful, 3), (&done.sparing.set, 2), (&done.surging.set, 2)] {
        let mut revisions = of("ControllerRevision", set);
        revisions.sort_by_key(|revision| revision["revision"].as_i64());
        let numbers: Vec<i64> = revisions.iter().filter_map(|revision| revision["revision"].as_i64()).collect();
        let data: BTreeSet<String> = revisions.iter().map(|revision| revision["data"].to_string()).collect();
        if numbers != (1..=templates).collect::<Vec<i64>>() || data.len() != revisions.len() {
            faults.push(format!("{} has revisions {numbers:?} of {} templates", set["metadata"]["name"], data.len()));
        }
        let newest = revisions.last().map(|revision| &revision["metadata"]["name"]);
        if set["kind"] == "StatefulSet" && newest != Some(&set["status"]["updateRevision"]) {
            faults.push(format!("{newest:?} is not the revision of {}", set["status"]));
        }
    }
    let mut sizes: Vec<i64> =
        of("ReplicaSet", &done.deployment).iter().filter_map(|set| set["spec"]["replicas"].as_i64()).collect();
    sizes.sort_unstable();
    if sizes != [0, 10] {
        faults.push(format!("the Deployment has ReplicaSets of {sizes:?}"));
    }
    faults
}

/// What is there when a run has failed, without the pods that have succeeded.
async fn left(admin: &Caller) -> String {
    let mut lines = Vec::new();
    for collection in COLLECTIONS {
        let Ok(list) = admin.get(collection).await else { continue };
        let items = list.body["items"].as_array().cloned().unwrap_or_default();
        let unfinished = items
            .iter()
            .filter(|item| item["status"]["phase"] != "Succeeded" || item["metadata"]["finalizers"].is_array());
        for item in unfinished.take(40) {
            let metadata = &item["metadata"];
            let status = if item["status"]["phase"].is_null() { &item["status"] } else { &item["status"]["phase"] };
            lines.push(format!(
                "{} deleting {} finalizers {} on {} is {status}",
                metadata["name"], metadata["deletionTimestamp"], metadata["finalizers"], item["spec"]["nodeName"]
            ));
        }
    }
    lines.join("\n")
}
