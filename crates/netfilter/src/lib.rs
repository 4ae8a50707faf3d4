//! The kernel's packet filter, by netlink: tables of rules as values, changed in one [`Transaction`], never read back but
//! for what packets have put there (clients, counts); the flows that it tracks; and the packets that rules told of.
//!
//! The program `nft` says the same things in words, and starts anew for each. What is said here prints in its words, and
//! its lists show what came of it.

mod counters;
mod encode;
pub mod flows;
mod log;
mod netlink;
mod sessions;
mod socket;
pub mod tables;
#[cfg(test)]
mod tests;
mod text;
mod transaction;

pub use counters::Counted;
pub use log::{Log, Seen};
pub use sessions::TimedAddresses;
pub use socket::{Error, Socket};
pub use transaction::{Change, Transaction};
