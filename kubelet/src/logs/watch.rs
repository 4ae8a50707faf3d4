//! Who waits for a log to grow is woken by the kernel: one inotify descriptor a kubelet, however many clients follow logs.
//!
//! A descriptor a client would soon meet the kernel's limit of 128 a user. Folders are watched, not files, so that a log that
//! was turned over is noticed too. The wake-up is a hint: followers look by themselves from time to time, and where the kernel
//! gives no descriptor that is all they do.

use nix::{
    errno::Errno,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor},
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap},
    io,
    os::fd::{AsFd, AsRawFd, RawFd},
    path::Path,
    sync::{Arc, Weak},
};
use tokio::{io::unix::AsyncFd, sync::Notify};

/// The kernel's descriptor, as the runtime waits for it.
struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

#[derive(Default)]
struct Shared {
    descriptor: Option<AsyncFd<Descriptor>>,
    /// Who is to be woken, by the kernel's number of the folder.
    followers: Mutex<HashMap<WatchDescriptor, Vec<Weak<Notify>>>>,
}

/// Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Watcher(Arc<Shared>);

impl Watcher {
    /// Must be called inside a tokio runtime.
    pub(crate) fn new() -> Self {
        let made = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).map_err(io::Error::from);
        #[expect(
            deprecated,
            reason = "its successor is unsafe; an Inotify that is never taken out again keeps its promise"
        )]
        let descriptor = match made.and_then(|made| AsyncFd::new(Descriptor(made))) {
            Ok(descriptor) => Some(descriptor),
            Err(error) => {
                tracing::warn!(%error, "the kernel does not tell when logs grow, they are looked at every second");
                None
            }
        };
        Self(Arc::new(Shared { descriptor, followers: Mutex::default() }))
    }

    /// From now on changes in the folder are told. Looks the folder up on the disk.
    pub(crate) fn subscribe(&self, folder: &Path) -> Subscription {
        let notify = Arc::new(Notify::new());
        let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        let added = self.0.descriptor.as_ref().map(|fd| fd.get_ref().0.add_watch(folder, flags));
        let number = match added {
            Some(Ok(number)) => number,
            Some(Err(error)) => {
                tracing::debug!(folder = %folder.display(), %error, "a log's folder is not watched");
                return Subscription { shared: self.0.clone(), number: None, notify };
            }
            None => return Subscription { shared: self.0.clone(), number: None, notify },
        };
        self.0.followers.lock().entry(number).or_default().push(Arc::downgrade(&notify));
        Subscription { shared: self.0.clone(), number: Some(number), notify }
    }

    /// Passes the kernel's news on, for ever.
    pub(crate) async fn run(self) {
        let Some(descriptor) = &self.0.descriptor else { return std::future::pending().await };
        loop {
            let numbers = match descriptor.readable().await {
                Ok(mut ready) => {
                    let numbers = changed(descriptor);
                    ready.clear_ready();
                    numbers
                }
                Err(error) => Err(error),
            };
            match numbers {
                Ok(numbers) => self.wake(&numbers),
                Err(error) => {
                    tracing::warn!(%error, "cannot read which logs grow");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            }
        }
    }

    fn wake(&self, numbers: &BTreeSet<WatchDescriptor>) {
        let followers = self.0.followers.lock();
        for follower in numbers.iter().filter_map(|number| followers.get(number)).flatten() {
            if let Some(follower) = follower.upgrade() {
                follower.notify_one();
            }
        }
    }
}

/// The folders in which something changed.
fn changed(descriptor: &AsyncFd<Descriptor>) -> io::Result<BTreeSet<WatchDescriptor>> {
    let mut numbers = BTreeSet::new();
    loop {
        match descriptor.get_ref().0.read_events() {
            // The last event of a watch that has ended says only that.
            Ok(events) => {
                let kept = events.iter().filter(|event| !event.mask.contains(AddWatchFlags::IN_IGNORED));
                numbers.extend(kept.map(|event| event.wd));
            }
            Err(Errno::EAGAIN) => return Ok(numbers),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Ends with its drop.
pub(crate) struct Subscription {
    shared: Arc<Shared>,
    number: Option<WatchDescriptor>,
    notify: Arc<Notify>,
}

impl Subscription {
    pub(crate) async fn changed(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let (Some(number), Some(descriptor)) = (self.number, &self.shared.descriptor) else { return };
        let mut followers = self.shared.followers.lock();
        let Some(list) = followers.get_mut(&number) else { return };
        list.retain(|follower| !std::ptr::eq(follower.as_ptr(), Arc::as_ptr(&self.notify)));
        if list.is_empty() {
            followers.remove(&number);
            // Fails if the folder is gone already, and the watch with it.
            let _ = descriptor.get_ref().0.rm_watch(number);
        }
    }
}
