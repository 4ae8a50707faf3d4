//! Tests across crates: catalogue coverage, scenarios, wire golden files, end to end. The library part is what such
//! tests share and what deserves tests of its own.

pub mod definitions;
pub mod history;
pub mod hollow;
pub mod ledger;
pub mod load;
pub mod upstream;
