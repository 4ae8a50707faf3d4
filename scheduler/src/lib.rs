//! The scheduler: gives each pending pod a node.
//!
//! It knows the API and nothing else: no storage, no other component. [`core`] is the whole of its thinking and is pure;
//! [`run`] watches, and [`bind`] writes. Adding a plugin is a file in [`plugins`] and a line in its catalogue.

pub mod bind;
pub mod cache;
mod command;
pub mod config;
pub mod core;
pub mod cycle;
pub mod devices;
pub mod events;
pub mod extender;
pub mod fit_error;
pub mod framework;
pub mod metrics;
pub mod plugins;
pub mod preemption;
pub mod queue;
mod run;
pub mod serving;
pub mod why;

pub use command::main;
pub use config::Config;
pub use run::run;
