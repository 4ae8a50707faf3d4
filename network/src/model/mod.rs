//! What a node's network has to be, worked out of what is seen: pure, without a look at the kernel or the API.

mod compile;
mod node;

pub use compile::{Device, Link, Own, Plan, Route, Way, compile};
pub use node::{ANNOTATION, Endpoint, Mac, Node, NodePart};

#[cfg(test)]
mod tests;
