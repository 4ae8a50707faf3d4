//! Sending a log to a client while it grows. A client that waits costs a task and a little memory, and no thread: files are
//! read in portions on the blocking pool, and only when there may be something to read.

use super::{
    read::{Next, Options, Reader},
    watch::Watcher,
};
use bytes::Bytes;
use component::supervisor;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How often a log is looked at though nobody told that it grew, and whether its container still runs.
const PERIOD: Duration = Duration::from_secs(1);

/// What a log is sent with.
pub(crate) struct Follower<F> {
    pub(crate) watcher: Watcher,
    /// Whether more can come.
    pub(crate) running: F,
    /// Ends it early.
    pub(crate) cancel: CancellationToken,
    pub(crate) out: mpsc::Sender<io::Result<Bytes>>,
}

impl<F: Fn() -> bool + Send> Follower<F> {
    /// Sends what is asked for. It ends without an error when the client goes away.
    pub(crate) async fn send(self, path: PathBuf, options: Options) -> io::Result<()> {
        let follow = options.follow;
        let watcher = self.watcher.clone();
        // Watched before it is read: what is written in between is told.
        let (mut reader, subscription) = blocking(move || {
            let subscription = follow.then(|| watcher.subscribe(path.parent().unwrap_or(Path::new("/"))));
            Ok((Reader::open(&path, options)?, subscription))
        })
        .await?;
        let mut ended = false;
        loop {
            let (bytes, next);
            (reader, bytes, next) = blocking(move || {
                let (bytes, next) = reader.read()?;
                Ok((reader, bytes, next))
            })
            .await?;
            if !bytes.is_empty() && self.out.send(Ok(Bytes::from(bytes))).await.is_err() {
                return Ok(());
            }
            let subscription = match (next, &subscription) {
                (Next::More, _) => continue,
                (Next::End, Some(subscription)) if !ended => subscription,
                _ => return Ok(()),
            };
            // One more look after the container ended: what it wrote last is there by then.
            ended = !(self.running)();
            if ended {
                continue;
            }
            tokio::select! {
                () = subscription.changed() => {}
                () = tokio::time::sleep(PERIOD) => {}
                () = self.cancel.cancelled() => return Ok(()),
                () = self.out.closed() => return Ok(()),
            }
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    supervisor::blocking("log of a container", work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write};

    const LINE: &str = "2026-01-01T00:00:01Z stdout F hello\n";

    /// So many more than there are threads for blocking work.
    const CLIENTS: usize = 100;

    #[test]
    fn those_who_wait_hold_no_thread() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("0.log");
        fs::write(&log, LINE).expect("written");
        runtime.block_on(async {
            let watcher = Watcher::new();
            let _passing_on = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(watcher.clone().run()));
            let cancel = CancellationToken::new();
            let mut clients = Vec::new();
            for _ in 0..CLIENTS {
                let (out, client) = mpsc::channel(4);
                let follower = Follower { watcher: watcher.clone(), running: || true, cancel: cancel.clone(), out };
                let options = Options { follow: true, ..Options::default() };
                tokio::spawn(follower.send(log.clone(), options));
                clients.push(client);
            }
            let limit = Duration::from_secs(30);
            for client in &mut clients {
                let first = tokio::time::timeout(limit, client.recv()).await.expect("in time");
                assert_eq!(first.expect("a line").expect("read"), "hello\n");
            }
            // The log is turned over, and grows again.
            fs::rename(&log, folder.path().join("0.log.1")).expect("renamed");
            fs::File::create(&log).expect("made").write_all(LINE.as_bytes()).expect("written");
            for client in &mut clients {
                let second = tokio::time::timeout(limit, client.recv()).await.expect("in time");
                assert_eq!(second.expect("a line").expect("read"), "hello\n");
            }
            cancel.cancel();
            for client in &mut clients {
                assert!(tokio::time::timeout(limit, client.recv()).await.expect("in time").is_none());
            }
        });
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_the_container_and_not_before_the_last_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("0.log");
        fs::write(&log, "").expect("written");
        let written = log.clone();
        // The container prints a line and ends, both between two looks.
        let running = move || {
            fs::write(&written, LINE).expect("written");
            false
        };
        let (out, mut client) = mpsc::channel(4);
        let follower = Follower { watcher: Watcher::default(), running, cancel: CancellationToken::new(), out };
        follower.send(log, Options { follow: true, ..Options::default() }).await.expect("sent");
        assert_eq!(client.recv().await.expect("a line").expect("read"), "hello\n");
        assert!(client.recv().await.is_none());
    }
}
