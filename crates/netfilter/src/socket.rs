//! The way to the kernel, in a network namespace.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    libc, setsockopt_impl, sockopt_impl,
    sys::{
        socket::{
            AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
            sockopt,
        },
        time::TimeVal,
    },
};

use crate::{
    encode,
    netlink::{ERROR, Head, Message, Writer},
    transaction::Transaction,
};

sockopt_impl!(
    /// The kernel says in words what it does not like.
    ExtendedAck,
    SetOnly,
    libc::SOL_NETLINK,
    libc::NETLINK_EXT_ACK,
    bool
);

/// What is received at a time.
const BUFFER: usize = 64 << 10;
/// How long the kernel may take to answer, in seconds.
const PATIENCE: i64 = 60;

/// Why the kernel did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not let us.
    #[error("rules may not be changed: run as root (CAP_NET_ADMIN is needed)")]
    Forbidden,
    /// It has no such tables.
    #[error("the kernel has no nf_tables: {0}")]
    Missing(io::Error),
    /// It refuses a change, and with it the whole transaction.
    #[error("{change}: {why}")]
    Refused {
        /// The first of those it refuses, as `nft` would write it.
        change: String,
        /// The kernel's words.
        why: String,
    },
    /// It could not be asked.
    #[error("netlink: {0}")]
    Io(#[from] io::Error),
}

/// A socket of netfilter's. Its calls block, some for as long as a large transaction takes: for blocking threads.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    /// In the network namespace of this thread.
    ///
    /// # Errors
    /// There is no netfilter.
    pub fn open() -> io::Result<Self> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter)?;
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(PATIENCE, 0))?;
        // Without it errors come without the kernel's words.
        let _ = setsockopt(&fd, ExtendedAck, &true);
        Ok(Self(fd))
    }

    /// Makes all changes of a transaction, or none of them.
    ///
    /// # Errors
    /// What the kernel says against it.
    pub fn apply(&mut self, transaction: &Transaction) -> Result<(), Error> {
        if transaction.is_empty() {
            return Ok(());
        }
        let (bytes, changes) = encode::batch(transaction);
        // It is sent at once; the kernel has done it when that returns, and has noted what went wrong.
        let room = usize::max(bytes.len() * 2, 1 << 20);
        if setsockopt(&self.0, sockopt::SndBufForce, &room).is_err() {
            let _ = setsockopt(&self.0, sockopt::SndBuf, &room);
        }
        sendto(self.0.as_raw_fd(), &bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty()).map_err(
            |errno| match errno {
                Errno::EPERM => Error::Forbidden,
                errno => Error::Io(errno.into()),
            },
        )?;
        let mut refused = None;
        let mut buffer = vec![0; BUFFER];
        loop {
            let n = match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => continue,
                // So many errors that some are lost: one is enough.
                Err(Errno::ENOBUFS) if refused.is_some() => continue,
                received => received.map_err(io::Error::from)?,
            };
            for message in Message::all(&buffer[..n]) {
                match message.outcome() {
                    Some((code, words)) if code != 0 && refused.is_none() => {
                        refused = Some((message.sequence, code, words));
                    }
                    _ => {}
                }
            }
        }
        let Some((sequence, code, words)) = refused else { return Ok(()) };
        Err(match Errno::from_raw(code) {
            Errno::EPERM => Error::Forbidden,
            Errno::EOPNOTSUPP if sequence == 0 => Error::Missing(Errno::EOPNOTSUPP.into()),
            errno => {
                let at = changes.get(sequence as usize).and_then(|change| transaction.changes.get(*change));
                let change = at.map_or_else(|| "the transaction".to_owned(), |change| shortened(&change.to_string()));
                Error::Refused { change, why: words.unwrap_or_else(|| errno.desc().to_owned()) }
            }
        })
    }

    /// Sends one message.
    pub(crate) fn send(
        &mut self,
        head: Head,
        body: impl FnOnce(&mut crate::netlink::Attributes<'_>),
    ) -> io::Result<()> {
        let mut writer = Writer::default();
        writer.message(head, body);
        sendto(self.0.as_raw_fd(), &writer.into_bytes(), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        Ok(())
    }

    /// Receives what the kernel tells by itself, at once or before `patience` is over.
    pub(crate) fn received(&mut self, patience: Duration, mut each: impl FnMut(&Message<'_>)) -> io::Result<()> {
        let patience = TimeVal::new(patience.as_secs() as i64, i64::from(patience.subsec_micros()));
        setsockopt(&self.0, sockopt::ReceiveTimeout, &patience)?;
        let mut buffer = vec![0; BUFFER];
        let n = match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            // Nothing yet, or more than there was room for: that is lost, and the rest comes.
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS) => return Ok(()),
            received => received?,
        };
        Message::all(&buffer[..n]).for_each(|message| each(&message));
        Ok(())
    }

    /// Receives messages until `last` says that one is the last; an error ends it, too.
    pub(crate) fn receive(&mut self, mut last: impl FnMut(&Message<'_>) -> bool) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let n = match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                // What is left unread would be taken for the answer to the next question.
                Err(Errno::EINTR) => continue,
                received => received?,
            };
            for message in Message::all(&buffer[..n]) {
                if message.kind == ERROR {
                    return match message.outcome() {
                        Some((0, _)) => Ok(()),
                        Some((code, _)) => Err(io::Error::from_raw_os_error(code)),
                        None => Err(io::ErrorKind::InvalidData.into()),
                    };
                }
                if last(&message) {
                    return Ok(());
                }
            }
        }
    }
}

/// Elements of a change can be thousands.
fn shortened(text: &str) -> String {
    const MOST: usize = 300;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text.to_owned(),
    }
}
