//! The daemon shell: supervised tasks, flags and config files, TLS, HTTP connections, health, metrics, tracing, the service
//! manager, shutdown.
//!
//! What it knows: how a Kubernetes component is started, watched and stopped. What it must **not** know: the API's
//! kinds, a client, any component in particular.

mod clock;
pub mod config;
pub mod feature_gates;
pub mod files;
pub mod flags;
pub mod http1;
pub mod metrics;
pub mod notify;
mod process;
pub mod serving;
pub mod supervisor;
pub mod tls;

pub use clock::Clock;
pub use process::{init_logging, shutdown, supervised};
pub use supervisor::Supervisor;
