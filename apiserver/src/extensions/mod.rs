//! Resources that are not built in. A custom resource is a row like any other, with a schema that came at run time: what is
//! here makes such rows from definitions, follows the definitions' life, and knows what differs in their objects.

#[cfg(test)]
mod answers;
pub mod columns;
pub mod conditions;
pub mod controller;
pub mod conversion;
pub mod custom;
pub mod definition;
mod finalize;
pub mod instances;
pub mod naming;
pub mod rows;
pub mod scale;
pub mod schema;
pub mod strategy;
#[cfg(test)]
mod tests;
