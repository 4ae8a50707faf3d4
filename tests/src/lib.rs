//! Tests across crates: catalogue coverage, scenarios, wire golden files, end to end.
