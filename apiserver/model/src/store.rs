//! Keys of objects in the store, and the store's errors as a client gets them.

use machinery::status::StatusError;
use storage::Error;

/// The key after a resource's prefix.
pub fn key(namespace: Option<&str>, name: &str) -> String {
    namespace.map_or_else(|| name.to_string(), |namespace| format!("{namespace}/{name}"))
}

/// A store's error as the client gets it; details go to the log.
pub fn unavailable(error: Error) -> StatusError {
    match &error {
        Error::Compacted { .. } => {
            StatusError::expired("The provided continue parameter is too old to display a consistent list result.")
        }
        Error::TooLarge(why) => StatusError::too_large(format!("etcdserver: request is too large: {why}")),
        Error::Full(why) => {
            tracing::error!(%error, "the store is full");
            StatusError::internal(format!("etcdserver: mvcc: database space exceeded: {why}"))
        }
        Error::Unavailable(_) | Error::Closed => {
            tracing::error!(%error, "the store does not answer");
            StatusError::service_unavailable("the storage backend is unavailable")
        }
        Error::FutureRevision { .. } | Error::Corrupt(_) => {
            tracing::error!(%error, "the store failed");
            StatusError::internal("the storage backend failed")
        }
    }
}

/// The answer to whoever needs an object of which the store has something that cannot be read. It stays as it is.
pub fn unreadable(key: &str, why: &str) -> StatusError {
    tracing::error!(key, why, "a stored value cannot be read");
    StatusError::internal(format!("unable to decode the stored object {key}"))
}

/// 410 where the store has been compacted past the revision that a list asked for.
pub fn too_old(error: Error) -> StatusError {
    match error {
        Error::Compacted { .. } => StatusError::expired("The resourceVersion for the provided list is too old."),
        other => unavailable(other),
    }
}
