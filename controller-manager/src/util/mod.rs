//! What several controllers share: keys, selectors, pods, nodes, ownership, history, expectations, protection.

pub(crate) mod backoff;
pub(crate) mod cidr;
pub(crate) mod claim_users;
pub(crate) mod conditions;
pub(crate) mod discovery;
pub(crate) mod doubts;
pub(crate) mod expectations;
pub(crate) mod freshness;
pub(crate) mod gone;
pub(crate) mod hash;
pub(crate) mod history;
pub(crate) mod int_or_percent;
pub(crate) mod jobs;
pub(crate) mod namespaces;
pub(crate) mod node_affinity;
pub(crate) mod nodes;
pub(crate) mod owners;
pub(crate) mod pod_claims;
pub(crate) mod pod_control;
pub(crate) mod pods;
pub(crate) mod protection;
pub(crate) mod selector;
pub(crate) mod services;
pub(crate) mod slices;
pub(crate) mod subsets;
pub(crate) mod taints;
pub(crate) mod trigger_times;
pub(crate) mod uid;

pub(crate) use controller::key;
