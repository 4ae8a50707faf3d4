//! Catching a panic: its message and its place in the source, which only the panic hook is told.
//!
//! The hook is installed with the first task. Inside a supervised task it keeps what it is told for the one who catches
//! the panic and logs it; elsewhere, and where nothing takes the log, it does what it did before.

use std::{
    any::Any,
    backtrace::{Backtrace, BacktraceStatus},
    cell::{Cell, RefCell},
    fmt,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind},
    pin::Pin,
    sync::Once,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{Ended, Name, ledger, tree::Entry};

thread_local! {
    /// Whether the code that runs on this thread is caught.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// The last panic of such code.
    static SEEN: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// A panic that was caught.
#[derive(Debug)]
pub(super) struct Panic {
    message: String,
    location: String,
    backtrace: Option<Backtrace>,
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, location, .. } = self;
        write!(f, "{message} (at {location})")
    }
}

/// Has the hook installed.
pub(super) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !INSIDE.get() {
                return before(info);
            }
            if !tracing::dispatcher::has_been_set() {
                before(info);
            }
            SEEN.set(Some(seen(info)));
        }));
    });
}

fn seen(info: &PanicHookInfo<'_>) -> Panic {
    let backtrace = Backtrace::capture();
    Panic {
        message: text(info.payload()),
        location: info.location().map(ToString::to_string).unwrap_or_default(),
        backtrace: (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace),
    }
}

fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

/// Calls `f`; a panic is counted, logged and returned.
pub(super) fn catch<T>(name: &Name, f: impl FnOnce() -> T) -> Result<T, Panic> {
    let before = INSIDE.replace(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    INSIDE.set(before);
    result.map_err(|payload| {
        let unseen = || Panic { message: text(&*payload), location: "unknown".into(), backtrace: None };
        let panic = SEEN.take().unwrap_or_else(unseen);
        ledger::panicked(name);
        let Panic { message, location, backtrace } = &panic;
        tracing::error!(task = %name, message, location, "a task panicked");
        if let Some(backtrace) = backtrace {
            tracing::error!(task = %name, "{backtrace}");
        }
        panic
    })
}

/// Calls `f` within the caller's task: its panic is counted and logged under `name`, and becomes an error. For what must
/// not take the rest of a task with it, such as one of many handlers.
///
/// # Errors
/// It panicked.
pub fn guarded<T>(name: impl Into<Name>, f: impl FnOnce() -> T) -> Result<T, Ended> {
    install_hook();
    let name = name.into();
    catch(&name, f).map_err(|panic| Ended::Panicked(format!("{name} panicked: {panic}")))
}

/// As [`guarded`], for a future.
pub async fn guarded_future<F: Future>(name: impl Into<Name>, future: F) -> Result<F::Output, Ended> {
    let name = name.into();
    let caught = Caught::new(name.clone(), None, future).await;
    caught.map_err(|panic| Ended::Panicked(format!("{name} panicked: {panic}")))
}

pin_project! {
    /// A future whose panic becomes its output.
    pub(super) struct Caught<F> {
        // Gone when it is over, so that its drop too is caught.
        #[pin]
        future: Option<F>,
        name: Name,
        entry: Option<Entry>,
    }
}

impl<F> Caught<F> {
    /// The entry is held as long as the future is.
    pub(super) fn new(name: Name, entry: Option<Entry>, future: F) -> Self {
        install_hook();
        Self { future: Some(future), name, entry }
    }
}

impl<F: Future> Future for Caught<F> {
    type Output = Result<F::Output, Panic>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let polled = match this.future.as_mut().as_pin_mut() {
            Some(future) => catch(this.name, || future.poll(cx)),
            None => return Poll::Pending,
        };
        let outcome = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => Err(panic),
        };
        let dropped = catch(this.name, || this.future.set(None));
        *this.entry = None;
        Poll::Ready(outcome.and_then(|output| dropped.map(|()| output)))
    }
}
