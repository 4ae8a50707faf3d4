//! What the shells' tests run in: a node of which the runtime, the API server, the clock and the gauges are fakes, and all else
//! is the kubelet's own. The kubelet may not know the API server's crate, so there is a small one here.

mod api;
mod node;
mod traps;

pub(crate) use api::FakeApi;
pub(crate) use node::{FakeGauges, TestNode};
pub(crate) use traps::Traps;
