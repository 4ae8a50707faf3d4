//! What becomes of a controller that panics outside its reconciler.

use std::sync::{
    Weak,
    atomic::{AtomicU32, Ordering},
};

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Namespace;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::*;

/// What its handlers held in the last run.
static HELD: Mutex<Weak<()>> = Mutex::new(Weak::new());
static FRAGILE: AtomicU32 = AtomicU32::new(0);
static STEADY: AtomicU32 = AtomicU32::new(0);
static AGAIN: Notify = Notify::const_new();

/// Panics in its first run, after it registered a handler.
fn fragile(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(async move {
        let held = Arc::new(());
        let before = std::mem::replace(&mut *HELD.lock(), Arc::downgrade(&held));
        context.informers.of::<Namespace>().on_change(move |_| drop(held.clone()));
        assert_ne!(FRAGILE.fetch_add(1, Ordering::Relaxed), 0, "made to panic");
        anyhow::ensure!(before.upgrade().is_none(), "the handler of the run before is still there");
        AGAIN.notify_one();
        context.cancel.cancelled().await;
        Ok(())
    })
}

fn steady(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(async move {
        STEADY.fetch_add(1, Ordering::Relaxed);
        context.cancel.cancelled().await;
        Ok(())
    })
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_panics_runs_again_and_the_others_run_on() {
    static ENTRIES: [Entry; 2] = [
        Entry { name: "fragile", alias: "", service_account: "a", start: fragile },
        Entry { name: "steady", alias: "", service_account: "b", start: steady },
    ];
    let tasks = Supervisor::new();
    let client = client::over_stream(std::future::pending::<std::io::Result<tokio::io::DuplexStream>>, "test");
    let informers = Informers::new(client.clone(), &tasks);
    let manager = Manager { config: Arc::default(), informers, client };
    ENTRIES.iter().for_each(|entry| manager.start(entry, &tasks));
    AGAIN.notified().await;
    let runs = [&FRAGILE, &STEADY].map(|runs| runs.load(Ordering::Relaxed));
    assert_eq!(runs, [2, 1]);
    tasks.shutdown().await;
}
