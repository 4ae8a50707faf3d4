//! What the service manager is told: that the service is ready, what it waits for, that it stops, and, as long as its
//! health check passes, that it is alive (the watchdog). The protocol is systemd's `sd_notify(3)`: datagrams to the socket
//! that `NOTIFY_SOCKET` names. Without that variable nothing is sent.
//!
//! The socket and the interval are fields and not read at each call, so that a test has a socket of its own; paths and
//! abstract addresses (`@name`, in containers) are both understood.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::supervisor;

/// The variables by which a service manager says where and how often; a child process must not inherit them.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// The way to the service manager, if there is one.
#[derive(Clone, Debug, Default)]
pub struct Manager {
    socket: Option<Arc<UnixDatagram>>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that started this process.
    pub fn of_this_process() -> Self {
        let var = |name: &str| std::env::var(name).ok();
        let Some(address) = std::env::var_os(VARIABLES[0]) else { return Self::default() };
        // The variable reaches child processes too; it is meant for the one that it names.
        let ours = var(VARIABLES[2]).is_none_or(|pid| pid == std::process::id().to_string());
        let watchdog = var(VARIABLES[1]).filter(|_| ours).and_then(|text| text.parse().ok());
        match Self::at(&address, watchdog.filter(|micros| *micros > 0).map(Duration::from_micros)) {
            Ok(manager) => manager,
            Err(error) => {
                tracing::warn!(%error, ?address, "the service manager cannot be told how this service is");
                Self::default()
            }
        }
    }

    /// A service manager that listens at `address` and takes a service for hung that was silent for `watchdog`.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn at(address: &OsStr, watchdog: Option<Duration>) -> std::io::Result<Self> {
        let address = match address.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(address)?,
        };
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not hold up this service.
        socket.set_nonblocking(true)?;
        socket.connect_addr(&address)?;
        Ok(Self { socket: Some(Arc::new(socket)), watchdog })
    }

    /// The service does what it is there for.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// The service is ending.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// One line for people: what the service is doing.
    pub fn status(&self, line: &str) {
        self.send(&format!("STATUS={}", line.replace('\n', " ")));
    }

    /// All of a service: ready when `ready` ends, alive as long as `healthy` says so, stopping when cancelled. Returns then.
    pub async fn tell<F>(&self, ready: impl Future<Output = ()>, healthy: impl Fn() -> F, cancel: CancellationToken)
    where
        F: Future<Output = Result<(), String>>,
    {
        let begin = async {
            if cancel.run_until_cancelled(ready).await.is_some() {
                self.ready();
            }
        };
        let end = async {
            cancel.cancelled().await;
            self.stopping();
        };
        tokio::join!(begin, self.watch(healthy, cancel.clone()), end);
    }

    /// Says twice in the watchdog's interval that the service is alive, as long as `healthy` says so within half of it.
    /// Returns when cancelled, or at once where no watchdog is set.
    pub async fn watch<F>(&self, healthy: impl Fn() -> F, cancel: CancellationToken)
    where
        F: Future<Output = Result<(), String>>,
    {
        let Some(pause) = self.watchdog.map(|interval| interval / 2) else { return };
        let mut ticks = tokio::time::interval(pause);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
            match tokio::time::timeout(pause, healthy()).await {
                Ok(Ok(())) => self.send("WATCHDOG=1"),
                Ok(Err(why)) => tracing::error!(why, "the watchdog is not told that this service is alive"),
                Err(_) => {
                    tracing::error!("the watchdog is not told that this service is alive: no answer in {pause:?}")
                }
            }
        }
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(message.as_bytes())
        {
            tracing::warn!(%error, message, "the service manager was not told");
        }
    }
}

/// What every service's health begins with: that no task panics again and again.
///
/// # Errors
/// The names of those that do.
pub fn tasks() -> Result<(), String> {
    match supervisor::troubled() {
        names if names.is_empty() => Ok(()),
        names => Err(format!("tasks that panic again and again: {}", names.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// A service manager of the test's own, and what it has heard since it was last asked.
    fn manager(watchdog: Option<Duration>) -> (Manager, impl Fn() -> Vec<String>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let heard = move || {
            let mut buffer = [0; 4096];
            let messages = std::iter::from_fn(|| listener.recv(&mut buffer).ok().map(|n| buffer[..n].to_vec()));
            messages.map(|bytes| String::from_utf8(bytes).unwrap()).collect()
        };
        (Manager::at(path.as_os_str(), watchdog).unwrap(), heard, dir)
    }

    #[test]
    fn states_are_told_in_systemds_words() {
        let (manager, heard, _dir) = manager(None);
        manager.status("waiting\nfor the node");
        manager.ready();
        manager.stopping();
        assert_eq!(heard(), ["STATUS=waiting for the node", "READY=1", "STOPPING=1"]);
    }

    #[tokio::test]
    async fn a_service_is_ready_once_and_stops() {
        let (manager, heard, _dir) = manager(None);
        let cancel = CancellationToken::new();
        let ready = async {
            assert_eq!(heard(), [""; 0], "not before it is");
        };
        let stop = async {
            tokio::task::yield_now().await;
            assert_eq!(heard(), ["READY=1"]);
            cancel.cancel();
        };
        tokio::join!(manager.tell(ready, || async { Ok(()) }, cancel.clone()), stop);
        assert_eq!(heard(), ["STOPPING=1"]);
        // One that is stopped while it starts was never ready.
        manager.tell(std::future::pending(), || async { Ok(()) }, cancel).await;
        assert_eq!(heard(), ["STOPPING=1"]);
    }

    #[test]
    fn an_abstract_address_is_as_good() {
        let name = format!("ferry-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixDatagram::bind_addr(&address).unwrap();
        Manager::at(OsStr::new(&format!("@{name}")), None).unwrap().ready();
        let mut buffer = [0; 64];
        let n = listener.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"READY=1");
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        Manager::default().ready();
        assert!(Manager::at(OsStr::new("/nowhere/at/all"), None).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_hears_twice_an_interval_and_only_of_a_healthy_service() {
        let (manager, heard, _dir) = manager(Some(Duration::from_secs(30)));
        let (healthy, cancel) = (Arc::new(AtomicBool::new(true)), CancellationToken::new());
        let (asked, told) = (healthy.clone(), cancel.clone());
        let watching = tokio::spawn(async move {
            let check = || async {
                match asked.load(Ordering::Relaxed) {
                    true => Ok(()),
                    false => std::future::pending().await,
                }
            };
            manager.watch(check, told).await;
        });
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(heard(), ["WATCHDOG=1"; 5]);
        healthy.store(false, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(heard(), [""; 0], "a check that hangs is no sign of life");
        healthy.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(31)).await;
        assert!(!heard().is_empty());
        cancel.cancel();
        watching.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_check_is_no_sign_of_life() {
        let (manager, heard, _dir) = manager(Some(Duration::from_secs(2)));
        let cancel = CancellationToken::new();
        let watch = manager.watch(|| async { Err("the store is closed".into()) }, cancel);
        assert!(tokio::time::timeout(Duration::from_secs(20), watch).await.is_err());
        assert_eq!(heard(), [""; 0]);
    }

    #[tokio::test]
    async fn without_an_interval_there_is_nothing_to_watch() {
        let (manager, heard, _dir) = manager(None);
        manager.watch(|| async { Ok(()) }, CancellationToken::new()).await;
        assert_eq!(heard(), [""; 0]);
    }
}
