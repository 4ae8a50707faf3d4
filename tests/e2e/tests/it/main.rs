//! End to end, on machines of the tests' own.

#![allow(clippy::unwrap_used)]

mod backup;
mod down;
mod example;
mod faults;
mod join;
mod network;
mod parts;
mod restart;
mod rollout;
mod service;
mod storage;
