//! The controllers on a real server, each under its own identity and role: what a user sees of them.

mod deployments;
mod endpoints;
mod protection;
mod replicas;
mod world;
