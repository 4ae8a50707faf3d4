//! How long nodes may keep what they have read: an annotation on each, by the number of nodes there are.
//!
//! Upstream: `pkg/controller/ttl`.

use std::sync::Arc;

use client::{Change, Informer};
use controller::{Queue, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use parking_lot::Mutex;
use serde_json::json;

use crate::{context::Context, util::key};

const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";
const WORKERS: usize = 5;

/// The fewest and the most nodes of a size, and its seconds. Sizes overlap, so that one node more or less at an end does
/// not change all nodes.
const SIZES: [(usize, usize, u32); 5] =
    [(0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, usize::MAX, 300)];

/// How many nodes there are, and which size that is.
#[derive(Debug, Default, PartialEq)]
struct Size {
    nodes: usize,
    index: usize,
}

impl Size {
    fn grow(&mut self) {
        self.nodes += 1;
        if self.nodes > SIZES[self.index].1 {
            self.index += 1;
        }
    }

    fn shrink(&mut self) {
        self.nodes = self.nodes.saturating_sub(1);
        if self.nodes < SIZES[self.index].0 {
            self.index -= 1;
        }
    }

    fn seconds(&self) -> u32 {
        SIZES[self.index].2
    }
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

async fn run(context: Context) -> anyhow::Result<()> {
    let nodes: Informer<Node> = context.informers.of();
    let (queue, size): (Queue<String>, _) = (Queue::new(), Arc::new(Mutex::new(Size::default())));
    let (wake, counted) = (queue.clone(), size.clone());
    nodes.on_change(move |change| {
        match change {
            Change::Added(_) => counted.lock().grow(),
            Change::Deleted(_) => return counted.lock().shrink(),
            Change::Updated { .. } => {}
        }
        // Each node is looked at when it says something: all at once would be many writes for little.
        wake.add(key::name(&change.object().metadata).to_owned());
    });
    nodes.synced().await;
    let (nodes, size, api) = (&nodes, &size, &Api::<Node>::all(context.client.clone()));
    run_workers(context.name, &queue, WORKERS, context.cancel.clone(), |name: String| async move {
        let Some(node) = nodes.peek(None, &name) else { return Ok(()) };
        let wanted = size.lock().seconds();
        if seconds(&node) == Some(wanted) {
            return Ok(());
        }
        let patch = json!({"metadata": {"annotations": {ANNOTATION: wanted.to_string()}}});
        match api.patch(&name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Err(e) if !client::is_not_found(&e) => Err(e.into()),
            _ => Ok(()),
        }
    })
    .await;
    Ok(())
}

/// What a node's annotation says.
fn seconds(node: &Node) -> Option<u32> {
    node.metadata.annotations.as_ref()?.get(ANNOTATION)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_overlap() {
        let mut size = Size::default();
        let mut to = |nodes: usize, want: u32| {
            while size.nodes < nodes {
                size.grow();
            }
            while size.nodes > nodes {
                size.shrink();
            }
            assert_eq!(size.seconds(), want, "{nodes}");
        };
        to(0, 0);
        to(100, 0);
        to(101, 15);
        to(90, 15);
        to(89, 0);
        to(2001, 300);
        to(1800, 300);
        to(1799, 60);
        to(900, 60);
        to(899, 30);
        to(449, 15);
        to(0, 0);
        assert_eq!(size, Size::default());
    }

    #[test]
    fn an_annotation_that_is_no_number_is_replaced() {
        let check = |value: &str, want: Option<u32>| {
            let annotations = Some([(ANNOTATION.to_owned(), value.to_owned())].into());
            let mut node = Node::default();
            node.metadata.annotations = annotations;
            assert_eq!(seconds(&node), want, "{value}");
        };
        check("15", Some(15));
        check("x", None);
        assert_eq!(seconds(&Node::default()), None);
    }
}
