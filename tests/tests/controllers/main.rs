//! The controllers on a real server, each under its own identity and role: what a user sees of them.

mod certificates;
mod cronjobs;
mod daemons;
mod deployments;
mod disruption;
mod endpoints;
mod jobs;
mod mirroring;
mod nodes;
mod protection;
mod quotas;
mod replicas;
mod stateful;
mod tokens;
mod world;
