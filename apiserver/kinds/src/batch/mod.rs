//! The batch group's own rules.

pub mod cronjob;
pub mod job;

#[cfg(test)]
mod tests;
