//! etcd's errors in this crate's words. etcd tells most of them apart by text, so the texts are facts of its protocol.

use std::error::Error as _;

use tonic::{Code, ConnectError, Status};

use crate::Error;

/// The reason given when a put names a lease that has ended. Nothing was written then.
pub(super) const LEASE_NOT_FOUND: &str = "etcdserver: requested lease not found";

/// Whether another member, or the same one later, may do better.
pub(super) fn is_unavailable(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal)
}

/// Whether the request failed before anything of it was sent: no connection could be made.
pub(super) fn was_never_sent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

pub(super) fn to_error(status: &Status) -> Error {
    let message = status.message();
    match status.code() {
        Code::OutOfRange if message.contains("required revision has been compacted") => Error::Compacted { floor: 0 },
        Code::OutOfRange if message.contains("required revision is a future revision") => {
            Error::FutureRevision { current: 0 }
        }
        Code::InvalidArgument if message.contains("request is too large") => Error::TooLarge(message.to_owned()),
        Code::ResourceExhausted if message.contains("larger than max") => Error::TooLarge(message.to_owned()),
        Code::ResourceExhausted if message.contains("database space exceeded") => Error::Full(message.to_owned()),
        Code::DataLoss => Error::Corrupt(message.to_owned()),
        Code::NotFound => Error::Unavailable(LEASE_NOT_FOUND.to_owned()),
        _ => {
            // tonic says "transport error" and hides the why in the sources.
            let mut text = message.to_owned();
            let mut source = status.source();
            while let Some(error) = source {
                let more = error.to_string();
                if !text.contains(&more) {
                    text = format!("{text}: {more}");
                }
                source = error.source();
            }
            Error::Unavailable(format!("etcd: {text}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_etcd_become_reasons() {
        let cases = [
            (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted", Error::Compacted { floor: 0 }),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision is a future revision",
                Error::FutureRevision { current: 0 },
            ),
            (
                Code::InvalidArgument,
                "etcdserver: request is too large",
                Error::TooLarge("etcdserver: request is too large".to_owned()),
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
                Error::Full("etcdserver: mvcc: database space exceeded".to_owned()),
            ),
            (
                Code::Unavailable,
                "etcdserver: leader changed",
                Error::Unavailable("etcd: etcdserver: leader changed".to_owned()),
            ),
        ];
        for (code, message, want) in cases {
            assert_eq!(to_error(&Status::new(code, message)), want);
        }
    }
}
