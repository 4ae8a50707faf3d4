//! What is served beside the built-in kinds: custom resources.

pub mod schema;
