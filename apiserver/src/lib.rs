//! The API server: THE request path (`chain`) over the layers below it, its filters, its listeners, and how it starts.
//!
//! Each layer is a crate that cannot see the next: `model` <- `cache`, `negotiation` <- `writes` <- `kinds`, `extensions`,
//! `access`, `admission` <- `endpoints` <- this. Must not know of any component that uses it: they are clients.

use std::ops::Deref;
use std::sync::Arc;

use crate::filters::fairness::Fairness;
use crate::filters::leaving::Leaving;

pub mod bootstrap;
pub mod chain;
pub mod command;
pub mod filters;
pub mod listener;
pub mod pki;
pub mod replicated;
pub mod restore;
pub mod start;

pub use model::VERSION;
pub use model::request_info::SNAPSHOT;

/// Everything that serving a request needs: what endpoints need, and what the filters before them do.
pub struct Server {
    /// What endpoints need.
    pub endpoints: Arc<endpoints::Server>,
    /// How many requests at once.
    pub fairness: Fairness,
    /// How clients are sent to other servers.
    pub leaving: Leaving,
}

impl Deref for Server {
    type Target = endpoints::Server;

    fn deref(&self) -> &endpoints::Server {
        &self.endpoints
    }
}

#[cfg(test)]
mod tests;
