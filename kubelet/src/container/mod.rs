//! From a pod's spec to what the runtime is asked for. No call is made here; what a container needs from elsewhere (its image's
//! user, config maps, the node's addresses) is passed in.

pub(crate) mod config;
pub(crate) mod dns;
pub(crate) mod env;
pub(crate) mod expand;
pub(crate) mod fields;
pub(crate) mod hosts;
pub(crate) mod resources;
pub(crate) mod sandbox;
pub(crate) mod security;
pub(crate) mod service_env;
