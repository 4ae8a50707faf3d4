//! The graph's feed: a cursor into each watch cache that it is made from. A pull takes what is new; a cursor that has
//! fallen out of a cache's window starts over from the cache's state.

use std::sync::Arc;

use cache::{ChangeKind, WatchCache};
use machinery::gvk::GroupResource;

use super::{Feed, Graph, Kind};

/// Events taken at once.
const BATCH: usize = 1_000;

/// See the module.
pub struct Caches(Vec<Source>);

struct Source {
    kind: Kind,
    cache: Arc<WatchCache>,
    /// The revision that the graph has; `None` before the first pull.
    cursor: Option<i64>,
}

impl Caches {
    /// The caches of those resources, as `find` has them.
    pub fn new(find: impl Fn(&GroupResource) -> Option<Arc<WatchCache>>) -> Self {
        let sources = [
            (Kind::Pod, "", "pods"),
            (Kind::Volume, "", "persistentvolumes"),
            (Kind::VolumeAttachment, "storage.k8s.io", "volumeattachments"),
            (Kind::ResourceSlice, "resource.k8s.io", "resourceslices"),
        ];
        let source = |(kind, group, resource): (Kind, &str, &str)| {
            let cache = find(&GroupResource::new(group, resource))?;
            Some(Source { kind, cache, cursor: None })
        };
        Self(sources.into_iter().filter_map(source).collect())
    }
}

impl Feed for Caches {
    fn pull(&mut self, graph: &mut Graph) {
        for source in &mut self.0 {
            source.pull(graph);
        }
    }
}

impl Source {
    fn pull(&mut self, graph: &mut Graph) {
        let Some(mut cursor) = self.cursor else { return self.start_over(graph) };
        loop {
            let Ok(batch) = self.cache.after(cursor, BATCH) else { return self.start_over(graph) };
            let Some(last) = batch.last() else { break };
            cursor = last.revision();
            for change in &batch {
                let entry = &change.entry;
                match change.kind {
                    ChangeKind::Deleted => graph.remove(self.kind, entry.namespace().unwrap_or_default(), entry.name()),
                    _ => graph.put(self.kind, &entry.decode()),
                }
            }
        }
        self.cursor = Some(cursor);
    }

    fn start_over(&mut self, graph: &mut Graph) {
        let snapshot = self.cache.snapshot();
        graph.clear(self.kind);
        for entry in snapshot.range(None, None) {
            graph.put(self.kind, &entry.decode());
        }
        self.cursor = Some(snapshot.revision);
    }
}
