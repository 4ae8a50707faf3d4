//! The controllers on a real server, each under its own identity and role: what a user sees of them.

mod autoscalers;
mod bootstrap;
mod certificates;
mod claims;
mod clouds;
mod cronjobs;
mod daemons;
mod deployments;
mod devices;
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
mod scheduling;
mod selinux;
mod stateful;
mod tokens;
mod volumes;
mod world;
