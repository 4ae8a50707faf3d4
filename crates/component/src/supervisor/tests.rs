//! Panics, restarts, ends in order, and what is counted of them.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use super::*;

/// The value of a counter, now.
fn count(what: &str, task: &str) -> u64 {
    let line = format!("ferry_task_{what}_total{{task=\"{task}\"}} ");
    metrics().lines().find_map(|l| l.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_runs_again_after_a_growing_pause() {
    let (root, runs, started) = (Supervisor::new(), Arc::new(Mutex::new(Vec::new())), Instant::now());
    let seen = runs.clone();
    let task = root.restarting("doubling", move |_| {
        let seen = seen.clone();
        async move {
            let mut seen = seen.lock();
            seen.push(started.elapsed().as_millis());
            match seen.len() {
                1 => panic!("by a panic"),
                2 => anyhow::bail!("by an error"),
                3 | 4 => panic!("again"),
                _ => Ok(()),
            }
        }
    });
    task.await.unwrap();
    assert_eq!(*runs.lock(), [0, 100, 300, 700, 1500]);
    assert_eq!((count("panics", "doubling"), count("restarts", "doubling")), (3, 4));
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_panics_loses_the_message_in_hand_and_none_that_waits() {
    let (root, (seen, mut shown)) = (Supervisor::new(), mpsc::unbounded_channel());
    let sender = root.receiving("inbox", 4, move |mut inbox: Inbox<u32>, _| {
        let seen = seen.clone();
        async move {
            while let Some(message) = inbox.recv().await {
                assert!(message % 2 == 1, "an even one");
                seen.send(message).unwrap();
            }
        }
    });
    (1..=4).for_each(|message| sender.try_send(message).unwrap());
    assert!(sender.try_send(5).is_err(), "there is no room for more");
    let mut next = async || timeout(Duration::from_secs(60), shown.recv()).await.expect("a message, or the end");
    assert_eq!((next().await, next().await), (Some(1), Some(3)));
    sender.send(7).await.unwrap();
    assert_eq!(next().await, Some(7));
    assert_eq!((count("panics", "inbox"), count("restarts", "inbox")), (2, 2));
    drop(sender);
    assert_eq!(next().await, None, "without a sender it ends");
}

#[tokio::test(start_paused = true)]
async fn the_pause_has_a_cap_and_a_good_run_makes_it_short_again() {
    let (root, ends) = (Supervisor::new(), Arc::new(Mutex::new(Vec::<Instant>::new())));
    let (seen, pauses) = (ends.clone(), Arc::new(Mutex::new(Vec::new())));
    let paused = pauses.clone();
    let task = root.restarting("capped", move |_| {
        if let Some(last) = seen.lock().last() {
            paused.lock().push(last.elapsed().as_millis());
        }
        let (seen, runs) = (seen.clone(), seen.lock().len());
        async move {
            if runs == 11 {
                sleep(restart::WELL).await;
            }
            seen.lock().push(Instant::now());
            assert!(runs == 12, "not yet");
        }
    });
    task.await.unwrap();
    let pauses = pauses.lock();
    assert_eq!(pauses[7..], [12_800, 25_600, 30_000, 30_000, 100]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_again_and_again_is_named_until_it_runs_well() {
    let (root, runs) = (Supervisor::new(), Arc::new(AtomicU32::new(0)));
    let seen = runs.clone();
    root.restarting(("shaky", "a"), move |own| {
        let run = seen.fetch_add(1, Relaxed);
        async move {
            assert!(run >= 3, "not yet");
            own.token().cancelled().await;
        }
    });
    let named = || troubled().iter().any(|name| name == "shaky/a");
    sleep(Duration::from_millis(200)).await;
    assert!(!named(), "twice is no trouble yet");
    sleep(Duration::from_millis(300)).await;
    assert!(named(), "in its back-off");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(runs.load(Relaxed), 4);
    assert!(named(), "it has not proved itself yet");
    sleep(restart::WELL).await;
    assert!(!named());
    root.stop();
    root.finish().await.unwrap();
}

#[tokio::test]
async fn a_vital_task_ends_everything_with_its_name() {
    let check = async |fails: fn() -> anyhow::Result<()>, want: &str| {
        let (root, told) = (Supervisor::new(), Arc::new(AtomicU32::new(0)));
        let seen = told.clone();
        root.child("other").restarting("other", move |own| {
            let seen = seen.clone();
            async move {
                own.token().cancelled().await;
                seen.fetch_add(1, Relaxed);
            }
        });
        root.child("part").vital("heart", move |_| async move { fails() });
        let error = format!("{:#}", root.finish().await.unwrap_err());
        assert!(error.starts_with(want), "{error}");
        assert_eq!(told.load(Relaxed), 1, "the others end in order");
    };
    check(|| panic!("it broke"), "the task heart panicked: it broke (at crates/component/src/supervisor/tests.rs:")
        .await;
    check(|| anyhow::bail!("no room"), "the task heart failed: no room").await;
}

#[tokio::test]
async fn a_one_shots_panic_ends_it_alone_and_is_counted() {
    let root = Supervisor::new();
    let why = |task: Task<()>| async move { task.await.unwrap_err().to_string() };
    let broken: fn() = || panic!("broken");
    let at = |label: &str| format!("the task {label} panicked: broken (at crates/component/src/supervisor/tests.rs:");
    let single = why(root.one_shot("single", async move { broken() })).await;
    assert!(single.starts_with(&at("single")), "{single}");
    assert!(why(root.blocking("pooled", broken)).await.starts_with(&at("pooled")));
    assert!(why(root.thread("threaded", broken).unwrap()).await.starts_with(&at("threaded")));
    assert!(why(detached("loose", async move { broken() })).await.starts_with(&at("loose")));
    let joined = thread("joined", broken).unwrap().join().unwrap_err().to_string();
    assert!(joined.starts_with("the thread joined panicked: broken"), "{joined}");
    assert!(guarded_future("awaited", async move { broken() }).await.is_err());
    assert!(guarded("part", broken).unwrap_err().to_string().starts_with("part panicked: broken"));
    for label in ["single", "pooled", "threaded", "loose", "joined", "awaited", "part"] {
        assert_eq!(count("panics", label), 1, "{label}");
    }
    assert_eq!(root.one_shot("fine", async { 3 }).await, Ok(3));
    assert_eq!(root.thread("fine", || 4).unwrap().await, Ok(4));
    assert_eq!(guarded("fine", || 5), Ok(5));
    root.stop();
    root.finish().await.unwrap();
}

#[tokio::test]
async fn a_drop_that_panics_is_caught_too() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in its drop");
        }
    }
    let bomb = Bomb;
    // The future owns it to the end, and is dropped when it is over.
    let future = Box::pin(async {});
    let task = detached("bomb", async move {
        let _kept = &bomb;
        future.await;
    });
    assert!(task.await.unwrap_err().to_string().starts_with("the task bomb panicked: in its drop"));
    assert_eq!(count("panics", "bomb"), 1);
}

#[tokio::test(start_paused = true)]
async fn children_end_before_their_parents() {
    let (root, order) = (Supervisor::new(), Arc::new(Mutex::new(Vec::new())));
    let start = |owner: &Supervisor, name: &'static str, takes_ms: u64| {
        let order = order.clone();
        owner.vital(name, move |own| async move {
            own.token().cancelled().await;
            sleep(Duration::from_millis(takes_ms)).await;
            order.lock().push(name);
        });
    };
    let server = root.child("server");
    let clients = server.child("clients");
    start(&root, "root", 0);
    start(&server, "server", 0);
    start(&clients, "slow client", 20);
    start(&clients, "quick client", 10);
    root.stop();
    root.finish().await.unwrap();
    assert_eq!(*order.lock(), ["quick client", "slow client", "server", "root"]);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_in_time_is_aborted() {
    struct Gone(Arc<AtomicU32>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let (root, gone, started) = (Supervisor::new(), Arc::new(AtomicU32::new(0)), Instant::now());
    let stubborn = root.child_within("stubborn", Duration::from_secs(5));
    let (kept, kept_too) = (Gone(gone.clone()), gone.clone());
    stubborn.one_shot("deaf", async move {
        let _kept = kept;
        std::future::pending::<()>().await;
    });
    stubborn.restarting("deaf too", move |own| {
        let kept = Gone(kept_too.clone());
        async move {
            let _kept = kept;
            // What a run started is told to end when the run is aborted.
            own.one_shot("heir", async move { std::future::pending::<()>().await });
            std::future::pending::<()>().await;
        }
    });
    tokio::task::yield_now().await;
    root.stop();
    root.finish().await.unwrap();
    assert_eq!(gone.load(Relaxed), 2);
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_with_the_tasks_that_it_started() {
    let (root, log) = (Supervisor::new(), Arc::new(Mutex::new(Vec::new())));
    let seen = log.clone();
    let task = root.restarting("with children", move |own| {
        let seen = seen.clone();
        async move {
            let (first, told) = (seen.lock().is_empty(), own.token());
            seen.lock().push("runs");
            let helper = seen.clone();
            own.one_shot("helper", async move {
                told.cancelled().await;
                helper.lock().push("helper ends");
            });
            assert!(!first, "once");
        }
    });
    task.await.unwrap();
    assert_eq!(*log.lock(), ["runs", "helper ends", "runs", "helper ends"]);
}

#[tokio::test]
async fn an_aborted_task_says_so() {
    let root = Supervisor::new();
    let task = root.one_shot("endless", std::future::pending::<()>());
    task.abort();
    assert_eq!(task.await, Err(Ended::Aborted));
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let owned = root.one_shot("endless", async move {
        let _sender = sender;
        std::future::pending::<()>().await;
    });
    drop(owned.abort_on_drop());
    assert!(receiver.await.is_err(), "it was dropped");
}
