use super::*;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::thread::{self, ThreadId};

/// Which thread removed which folder: threads that run tasks must not.
static REMOVALS: Mutex<Vec<(PathBuf, ThreadId)>> = Mutex::new(Vec::new());

pub(super) fn note_removal(folder: &Path) {
    REMOVALS.lock().push((folder.to_owned(), thread::current().id()));
}

pub(crate) fn removers(folder: &Path) -> Vec<ThreadId> {
    REMOVALS.lock().iter().filter(|(removed, _)| removed == folder).map(|(_, thread)| *thread).collect()
}

#[test]
fn a_volume_in_memory_is_bounded_by_the_pod_and_the_node() {
    const NODE: i64 = 8 << 30;
    let limited = |limit: &str| json!({"name": "c", "resources": {"limits": {"memory": limit}}});
    let rows: &[(&str, Value, Option<i64>, i64)] = &[
        ("nothing said", json!({"containers": [{"name": "c"}]}), None, NODE),
        ("its own limit", json!({"containers": [{"name": "c"}]}), Some(1 << 20), 1 << 20),
        ("its own limit beyond the node", json!({"containers": [{"name": "c"}]}), Some(16 << 30), NODE),
        ("zero says nothing", json!({"containers": [{"name": "c"}]}), Some(0), NODE),
        ("the pod's limit", json!({"containers": [limited("64Mi"), limited("64Mi")]}), None, 128 << 20),
        ("the less of both", json!({"containers": [limited("64Mi")]}), Some(1 << 30), 64 << 20),
        ("the less of both, the other way", json!({"containers": [limited("64Mi")]}), Some(1 << 20), 1 << 20),
        ("a container without a limit", json!({"containers": [limited("64Mi"), {"name": "d"}]}), None, NODE),
        (
            "a limit for the whole pod",
            json!({"resources": {"limits": {"memory": "32Mi"}}, "containers": [{"name": "c"}]}),
            None,
            32 << 20,
        ),
    ];
    for (what, spec, own, expected) in rows {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).expect("a pod");
        assert_eq!(memory_size(&pod, *own, NODE), *expected, "{what}");
    }
}
