//! A client of the API: `kube::Client` over a kubeconfig or an in-process stream, shared informers, listers.
//!
//! What it knows: how to reach an API server, how to keep a local copy of a kind up to date, how to name its errors, how to
//! ask it who sends a request to a component.
//! What it must **not** know: what any kind means, what a controller does with it, how the server stores it.

mod agent;
pub mod certificates;
mod connect;
pub mod delegated;
mod error;
mod informer;
mod lenient;
mod packed;
mod reflector;
mod servers;
mod store;
mod transport;

pub use agent::user_agent;
pub use connect::{anonymous, from_kubeconfig, from_token, over_http1, over_stream, renewed, unverified};
pub use error::{
    is_already_exists, is_conflict, is_forbidden, is_invalid, is_namespace_terminating, is_not_found, is_unknown,
    message, reason,
};
pub use informer::{Change, Informer, Informers, Scope};
pub use reflector::{Event, Reflector, Target, relist_needed};
pub use servers::SERVERS;
pub use store::Index;

#[cfg(test)]
mod tests;
