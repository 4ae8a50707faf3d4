//! Admission plugins: what the cluster wants of an object beyond its kind's validity. `chain` holds them in upstream's order;
//! each is one file and one line there. All mutate first, then all validate.
//!
//! A plugin knows the interface in `writes::admission`, kinds, and who may do what. It must not know HTTP.

pub mod chain;
pub mod plugins;
