//! The policies: run again after a failure, or end the process.

use std::{future::Future, time::Duration};

use tokio::time::Instant;

use super::{Ended, Name, Outcome, Supervisor, caught, caught::Caught, ledger::Record};

/// The first pause, which doubles.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const MOST: Duration = Duration::from_secs(30);
/// A run of this length makes good for the failures before it.
pub(super) const WELL: Duration = Duration::from_secs(60);

/// What is paused between two runs.
struct Backoff(Duration);

impl Backoff {
    fn next(&mut self, well: bool) -> Duration {
        if well {
            self.0 = FIRST;
        }
        let pause = self.0;
        self.0 = (pause * 2).min(MOST);
        pause
    }
}

/// The tasks that one run starts; told to end when the run is over, also when it is aborted.
struct Scope(Supervisor);

impl Drop for Scope {
    fn drop(&mut self) {
        self.0.0.cancel_all();
    }
}

/// Why a run failed.
enum Failure {
    Panic(String),
    Error(anyhow::Error),
}

/// One run in a scope of its own, which has ended when this returns. The failure of a run that was told to end is none.
async fn one_run<F>(parent: &Supervisor, name: &Name, make: impl FnOnce(Supervisor) -> F) -> Result<(), Failure>
where
    F: Future<Output: Outcome> + Send + 'static,
{
    let scope = Scope(parent.child(name.clone()));
    let own = scope.0.clone();
    let outcome = match caught::catch(name, || make(own)) {
        Ok(future) => Caught::new(name.clone(), None, future).await,
        Err(panic) => Err(panic),
    };
    let told = scope.0.0.is_stopping();
    scope.0.shutdown().await;
    match outcome.map(Outcome::into_result) {
        Ok(Err(error)) if told => {
            tracing::debug!(task = %name, error = format!("{error:#}"), "ended with an error after it was told to end");
            Ok(())
        }
        _ if told => Ok(()),
        Ok(Ok(())) => Ok(()),
        // What it found out about a part of its own is as good as its own.
        Ok(Err(error)) if matches!(error.downcast_ref(), Some(Ended::Panicked(_))) => {
            Err(Failure::Panic(error.to_string()))
        }
        Ok(Err(error)) => Err(Failure::Error(error)),
        Err(panic) => Err(Failure::Panic(panic.to_string())),
    }
}

/// See [`Supervisor::restarting`].
pub(super) async fn run<M, F>(parent: Supervisor, name: Name, mut make: M)
where
    M: FnMut(Supervisor) -> F + Send + 'static,
    F: Future<Output: Outcome> + Send + 'static,
{
    let (record, mut backoff) = (Record::new(), Backoff(FIRST));
    loop {
        let began = Instant::now();
        let Err(failure) = one_run(&parent, &name, &mut make).await else { return };
        let well = began.elapsed() >= WELL;
        record.failed(&name, matches!(failure, Failure::Panic(_)), well);
        let pause = backoff.next(well);
        match failure {
            Failure::Panic(_) => tracing::warn!(task = %name, ?pause, "the task is run again"),
            Failure::Error(error) => {
                let error = format!("{error:#}");
                tracing::warn!(task = %name, error, ?pause, "the task failed and is run again");
            }
        }
        if parent.until_stopped(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
        record.restarted(&name);
    }
}

/// See [`Supervisor::vital`].
pub(super) async fn vital<M, F>(parent: Supervisor, name: Name, make: M)
where
    M: FnOnce(Supervisor) -> F + Send + 'static,
    F: Future<Output: Outcome> + Send + 'static,
{
    let error = match one_run(&parent, &name, make).await {
        Ok(()) => return,
        Err(Failure::Panic(panic)) => anyhow::anyhow!("the task {name} panicked: {panic}"),
        Err(Failure::Error(error)) => error.context(format!("the task {name} failed")),
    };
    tracing::error!(task = %name, error = format!("{error:#}"), "a task that the process can't do without failed");
    parent.0.root().fail(error);
}
