//! What is remembered of nodes from one cycle to the next, shape by shape.

use std::collections::HashMap;

use crate::{
    cache::node::Node,
    framework::{Framework, KEPT_SCORES, extension::Cycle, status::Status},
};

/// Shapes whose answers are kept.
const KEPT_SHAPES: usize = 64;

/// Answers kept for one shape.
pub(super) struct ShapeMemo {
    /// By the node's place.
    pub(super) nodes: Vec<Memo>,
    /// With the plugin that refuses.
    pub(super) refusals: Vec<(Status, usize)>,
    last_used: u64,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Memo {
    /// The node object's generation this was worked out for; 0: not yet.
    pub(super) generation: u64,
    /// 0: admitted, otherwise 1 + index of the refusal.
    pub(super) refusal: u16,
    pub(super) object_scores: [i32; KEPT_SCORES],
    /// The node's generation that `node_scores` were worked out for; 0: not yet.
    pub(super) node_generation: u64,
    pub(super) node_scores: [i32; KEPT_SCORES],
}

/// The raw scores of these plugins for a node, to be kept.
pub(super) fn raw_scores(
    framework: &Framework,
    scores: &[(usize, i64)],
    cycle: &Cycle<'_>,
    node: &Node,
) -> [i32; KEPT_SCORES] {
    let mut raw = [0; KEPT_SCORES];
    for (raw, (index, _)) in raw.iter_mut().zip(scores) {
        if let Some(score) = framework.plugins[*index].score() {
            *raw = score.score(cycle, node) as i32;
        }
    }
    raw
}

/// Of the shapes that were used last.
#[derive(Default)]
pub(super) struct Memos(HashMap<u64, ShapeMemo>);

impl Memos {
    /// That of a shape, for so many nodes: to be put back.
    pub(super) fn take(&mut self, serial: u64, cycle: u64, nodes: usize) -> ShapeMemo {
        let known = self.0.remove(&serial);
        let mut memo = known.or_else(|| self.make_room()).unwrap_or_else(|| ShapeMemo {
            nodes: Vec::new(),
            refusals: Vec::new(),
            last_used: cycle,
        });
        memo.last_used = cycle;
        memo.nodes.resize(nodes, Memo::default());
        memo
    }

    pub(super) fn put(&mut self, serial: u64, memo: ShapeMemo) {
        self.0.insert(serial, memo);
    }

    /// The least recently used gives way, and its buffer is used again.
    fn make_room(&mut self) -> Option<ShapeMemo> {
        if self.0.len() < KEPT_SHAPES {
            return None;
        }
        let oldest = self.0.iter().min_by_key(|(_, memo)| memo.last_used).map(|(serial, _)| *serial)?;
        let mut memo = self.0.remove(&oldest)?;
        memo.nodes.clear();
        memo.refusals.clear();
        Some(memo)
    }
}
