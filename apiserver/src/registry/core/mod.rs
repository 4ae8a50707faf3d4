//! The core group's own rules, a folder a kind.

pub mod pod;
