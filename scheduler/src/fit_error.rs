//! Why no node would do, in upstream's words: `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) ...`.
//!
//! The message is what users read in events and in the PodScheduled condition, so its every character is a fact of the
//! API: reasons are counted, written as "count reason", and sorted as text (`framework.FitError`).

use std::collections::HashMap;

use crate::framework::{PluginSet, status::Status};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct FitError {
    /// Nodes in the cluster.
    pub all_nodes: usize,
    /// A PreFilter turned the pod away with this; then there is nothing to say about single nodes.
    pub pre_filter_message: String,
    /// Different refusals, and for each place the one it gave.
    pub statuses: Vec<Status>,
    /// The plugin behind each of them; `None`: none.
    pub refused_by: Vec<Option<usize>>,
    /// Places with an index into `statuses`.
    pub by_node: Vec<(u32, u16)>,
    /// What is said of the nodes not looked at.
    pub absent: Option<Status>,
    /// What came of making room.
    pub post_filter_message: String,
    /// Plugins that turned nodes down, or the pod altogether.
    pub plugins: PluginSet,
}

impl FitError {
    /// Notes a refusal by no plugin.
    pub fn refuse(&mut self, place: u32, status: Status) {
        self.note(place, status, None);
    }

    /// Notes a plugin's refusal.
    pub fn refuse_by(&mut self, plugin: usize, place: u32, status: Status) {
        self.plugins.insert(plugin);
        self.note(place, status, Some(plugin));
    }

    fn note(&mut self, place: u32, status: Status, by: Option<usize>) {
        let known = self.statuses.iter().zip(&self.refused_by);
        let index = known.into_iter().position(|(known, known_by)| *known == status && *known_by == by);
        let index = index.unwrap_or_else(|| {
            self.statuses.push(status);
            self.refused_by.push(by);
            self.statuses.len() - 1
        });
        self.by_node.push((place, index as u16));
    }

    /// What a node said, or what is said of nodes not looked at.
    pub fn status_of(&self, place: u32) -> Option<&Status> {
        self.by_node
            .iter()
            .find(|(other, _)| *other == place)
            .map(|(_, index)| &self.statuses[*index as usize])
            .or(self.absent.as_ref())
    }
}

impl std::fmt::Display for FitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "0/{} nodes are available:", self.all_nodes)?;
        if !self.pre_filter_message.is_empty() {
            write!(f, " {}.", self.pre_filter_message)?;
        } else {
            let mut counts: HashMap<&str, usize> = HashMap::new();
            let mut per_status = vec![0usize; self.statuses.len()];
            for (_, index) in &self.by_node {
                per_status[*index as usize] += 1;
            }
            for (status, count) in self.statuses.iter().zip(per_status) {
                for reason in &status.reasons {
                    *counts.entry(reason).or_default() += count;
                }
            }
            let absent = self.all_nodes.saturating_sub(self.by_node.len());
            if absent > 0 {
                for reason in self.absent.iter().flat_map(|status| &status.reasons) {
                    *counts.entry(reason).or_default() += absent;
                }
            }
            let mut lines: Vec<String> =
                counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            lines.sort();
            if !lines.is_empty() {
                write!(f, " {}.", lines.join(", "))?;
            }
        }
        if !self.post_filter_message.is_empty() {
            write!(f, " {}", self.post_filter_message)?;
        }
        Ok(())
    }
}
