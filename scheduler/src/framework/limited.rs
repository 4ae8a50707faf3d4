//! A plugin at some of its extension points: a profile may switch it on or off at each.

use std::sync::Arc;

use super::{
    events::{Action, Event, Hint, HintContext},
    extension::{
        Bind, Filter, Permit, Plugin, PostBind, PostFilter, PreBind, PreEnqueue, PreFilter, QueueSort, Release,
        Reserve, Score,
    },
};
use crate::cache::{Snapshot, pod::PodInfo};

/// Extension points as configuration files name them. PreScore goes with Score: one is nothing without the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "upstream's extension points")]
pub enum At {
    PreEnqueue,
    QueueSort,
    PreFilter,
    Filter,
    PostFilter,
    Score,
    Reserve,
    Permit,
    PreBind,
    Bind,
    PostBind,
}

/// A set of extension points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Points(u16);

impl Points {
    /// Every one.
    pub const ALL: Self = Self(u16::MAX);

    /// With or without one.
    #[must_use]
    pub fn set(self, at: At, on: bool) -> Self {
        let bit = 1 << at as u16;
        Self(if on { self.0 | bit } else { self.0 & !bit })
    }

    fn has(self, at: At) -> bool {
        self.0 & (1 << at as u16) != 0
    }
}

/// See the module.
pub struct Limited {
    inner: Arc<dyn Plugin>,
    points: Points,
}

impl Limited {
    /// The plugin at these points.
    pub fn new(inner: Arc<dyn Plugin>, points: Points) -> Self {
        Self { inner, points }
    }

    fn at<'a, T: ?Sized>(&'a self, at: At, of: impl FnOnce(&'a dyn Plugin) -> Option<&'a T>) -> Option<&'a T> {
        if self.points.has(at) { of(&*self.inner) } else { None }
    }
}

impl Plugin for Limited {
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn attach(&self, snapshot: &Snapshot) {
        self.inner.attach(snapshot);
    }
    fn events(&self) -> Action {
        self.inner.events()
    }
    fn hint(&self, pod: &PodInfo, event: &Event, context: &HintContext<'_>) -> Hint {
        self.inner.hint(pod, event, context)
    }
    fn queue_sort(&self) -> Option<&dyn QueueSort> {
        self.at(At::QueueSort, |plugin| plugin.queue_sort())
    }
    fn pre_enqueue(&self) -> Option<&dyn PreEnqueue> {
        self.at(At::PreEnqueue, |plugin| plugin.pre_enqueue())
    }
    fn pre_filter(&self) -> Option<&dyn PreFilter> {
        self.at(At::PreFilter, |plugin| plugin.pre_filter())
    }
    fn filter(&self) -> Option<&dyn Filter> {
        self.at(At::Filter, |plugin| plugin.filter())
    }
    fn post_filter(&self) -> Option<&dyn PostFilter> {
        self.at(At::PostFilter, |plugin| plugin.post_filter())
    }
    fn release(&self) -> Option<&dyn Release> {
        self.at(At::PostFilter, |plugin| plugin.release())
    }
    fn score(&self) -> Option<&dyn Score> {
        self.at(At::Score, |plugin| plugin.score())
    }
    fn reserve(&self) -> Option<&dyn Reserve> {
        self.at(At::Reserve, |plugin| plugin.reserve())
    }
    fn permit(&self) -> Option<&dyn Permit> {
        self.at(At::Permit, |plugin| plugin.permit())
    }
    fn pre_bind(&self) -> Option<&dyn PreBind> {
        self.at(At::PreBind, |plugin| plugin.pre_bind())
    }
    fn bind(&self) -> Option<&dyn Bind> {
        self.at(At::Bind, |plugin| plugin.bind())
    }
    fn post_bind(&self) -> Option<&dyn PostBind> {
        self.at(At::PostBind, |plugin| plugin.post_bind())
    }
}
