//! What every controller is made of: a workqueue, the reconciler contract, leader election, an event recorder.
//!
//! What it knows: keys, retries, leases, events. What it must **not** know: any particular controller.
//!
//! The contract: informer handlers put *keys* into a [`Queue`]; [`run_workers`] calls the reconciler with a key, never
//! with an event, never twice at once for one key; the reconciler looks at the present state and does what is missing.
//! An error means: again, later.

mod events;
pub mod key;
pub mod leader_election;
mod queue;
mod refs;
mod watched;
mod workers;

pub use events::Recorder;
pub use queue::Queue;
pub use refs::{controller_of, controller_ref, object_reference};
pub use watched::write_queues;
pub use workers::run_workers;
