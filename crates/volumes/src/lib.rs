//! What claims, volumes, storage classes and nodes say of each other: whether a volume satisfies a claim, whose it is,
//! which nodes reach it, which class a claim asks for.
//!
//! What it knows: the typed API objects, and upstream's `component-helpers/storage`. What it must **not** know: who asks
//! (the controller that binds, the scheduler), informers, clients; there is no IO.

pub mod annotations;
mod bound;
mod class;
pub mod csi_migration;
mod ephemeral;
mod matching;
mod node_selector;
mod quantity;

pub use bound::{bind_volume, is_bound_to};
pub use class::{claim_class, claim_has_class, volume_class, waits_for_consumer};
pub use ephemeral::{claim_name, made_for};
pub use matching::{Fit, Wanted, access_modes_suffice, volume_modes_differ};
pub use node_selector::{NodeSelector, Reach};
pub use quantity::{capacity, requested};
