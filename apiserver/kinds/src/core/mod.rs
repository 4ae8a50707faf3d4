//! The core group's own rules, a folder or a file a kind.

pub mod configmap;
pub mod event;
pub mod limitrange;
pub mod namespace;
pub mod node;
pub mod node_labels;
pub mod pod;
pub mod replicationcontroller;
pub mod resourcequota;
pub mod secret;
pub mod service;
pub mod serviceaccount;
pub mod volume;
