//! The controllers on a real server, each under its own identity and role: what a user sees of them.

mod bootstrap;
mod certificates;
mod cronjobs;
mod daemons;
mod deployments;
mod disruption;
mod endpoints;
mod jobs;
mod mirroring;
mod node_ranges;
mod nodes;
mod policies;
mod protection;
mod quotas;
mod ranges;
mod replicas;
mod stateful;
mod tokens;
mod world;
