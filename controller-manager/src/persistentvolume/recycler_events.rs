//! What is said of the pod that empties a volume is said of the volume, too: who waits for it looks there.
//!
//! Upstream: `newRecyclerEventRecorder` and `waitForPod` in `pkg/volume/util/recyclerclient`. Only new events are passed on,
//! not those that are counted up.

use std::{collections::HashSet, sync::Arc};

use client::{Event as Seen, Reflector, Target};
use component::supervisor::AbortOnDrop;
use controller::object_reference;
use k8s_openapi::api::core::v1::{Event, ObjectReference, PersistentVolume};
use parking_lot::Mutex;

use super::reclaim::{RECYCLER, RECYCLERS};
use crate::{context::Context, util::key};

/// Passes on the events of the recycler of that volume until this is dropped.
pub(super) fn follow(context: &Context, volume: &PersistentVolume) -> AbortOnDrop<()> {
    let name = key::name(&volume.metadata).to_owned();
    let target = Target {
        path: format!("/api/v1/namespaces/{RECYCLERS}/events"),
        query: format!("fieldSelector=involvedObject.name%3D{RECYCLER}{name}"),
        metadata_only: false,
    };
    let reflector = Arc::new(Reflector { client: context.informers.client().clone(), target });
    let (about, recorder) = (object_reference(volume), context.recorder.clone());
    let known: Arc<Mutex<HashSet<String>>> = Arc::default();
    let task = context.tasks.restarting(("recycler_events", name), move |run| {
        let (reflector, about, recorder, known) = (reflector.clone(), about.clone(), recorder.clone(), known.clone());
        async move {
            let sink = |seen: Seen<Event>| {
                if let Some((kind, message)) = said(&mut known.lock(), &seen) {
                    tell(&recorder, &about, &kind, message);
                }
            };
            reflector.run(run.token(), |event: &Event| event.metadata.resource_version.as_deref(), sink).await;
        }
    });
    task.abort_on_drop()
}

fn tell(recorder: &controller::Recorder, about: &ObjectReference, kind: &str, message: String) {
    recorder.event(about, kind, "RecyclerPod", message);
}

/// The type and the message that the volume gets for an event, if it is a new one.
fn said(known: &mut HashSet<String>, seen: &Seen<Event>) -> Option<(String, String)> {
    let Seen::Apply(event) = seen else { return None };
    let new = known.insert(key::name(&event.metadata).to_owned());
    let message = || format!("Recycler pod: {}", event.message.as_deref().unwrap_or_default());
    new.then(|| (event.type_.clone().unwrap_or_else(|| "Normal".to_owned()), message()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_passed_on_once_however_often_it_is_counted_up() {
        let mut known = HashSet::new();
        let mut check = |name: &str, count: i32, want: Option<(&str, &str)>| {
            let event = json!({
                "metadata": {"name": name}, "involvedObject": {}, "type": "Warning", "message": "BackOff", "count": count,
            });
            let got = said(&mut known, &Seen::Apply(serde_json::from_value(event).unwrap()));
            assert_eq!(got, want.map(|(kind, message)| (kind.to_owned(), message.to_owned())), "{name} {count}");
        };
        check("a", 1, Some(("Warning", "Recycler pod: BackOff")));
        check("a", 2, None);
        check("b", 1, Some(("Warning", "Recycler pod: BackOff")));
    }
}
