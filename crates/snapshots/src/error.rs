//! What can be wrong with a snapshot, in words that say what to do.

use std::fmt;
use std::io;

/// The result of reading or writing a snapshot.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a snapshot is refused, or could not be written.
#[derive(Debug)]
pub enum Error {
    /// The file is not what was written: cut, altered, or no snapshot at all.
    Damaged(String),
    /// The key is missing, or is not the one.
    Key(String),
    /// The disk or the network failed.
    Io(io::Error),
}

impl Error {
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(what) => write!(f, "not a whole snapshot: {what}"),
            Self::Key(what) => f.write_str(what),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
