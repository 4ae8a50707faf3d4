//! The window's rules by table: what a cursor sees, what an older state is, when the floor rises.

use super::*;

fn body(name: &str, n: u32) -> Bytes {
    format!(r#"{{"kind":"T","apiVersion":"v1","metadata":{{"name":"{name}","uid":"{n}"}}}}"#).into()
}

fn put(key: &str, revision: i64) -> (Arc<str>, After) {
    let key: Arc<str> = key.into();
    (key.clone(), After::Is(Entry::new(key.clone(), revision, body(&key, revision as u32)).expect("valid")))
}

fn delete(key: &str, revision: i64) -> (Arc<str>, After) {
    (key.into(), After::Gone(revision))
}

fn cache() -> (Arc<WatchCache>, watch::Sender<i64>) {
    let applied = watch::Sender::new(10);
    (Arc::new(WatchCache::new(Contents::default(), 10, applied.subscribe())), applied)
}

fn listing(snapshot: &Snapshot) -> Vec<(String, i64)> {
    snapshot.range(None, None).map(|e| (e.key.to_string(), e.revision)).collect()
}

#[tokio::test]
async fn a_cursor_sees_every_event_once_and_in_order() {
    let (cache, _applied) = cache();
    let mut early = cache.watch(10).expect("floor");
    cache.apply([put("ns/a", 11), put("ns/b", 12)], Instant::now());
    let mut late = cache.watch(11).expect("in the window");
    cache.apply([put("ns/a", 13), delete("ns/b", 14), delete("ns/none", 15)], Instant::now());
    let seen = |batch: Vec<Arc<Change>>| batch.iter().map(|c| (c.kind, c.revision())).collect::<Vec<_>>();
    use ChangeKind::*;
    assert_eq!(seen(early.next().await.expect("fresh")), [(Added, 11), (Added, 12), (Modified, 13), (Deleted, 14)]);
    assert_eq!(seen(late.next().await.expect("fresh")), [(Added, 12), (Modified, 13), (Deleted, 14)]);
}

#[test]
fn an_older_state_is_todays_with_the_window_undone() {
    let (cache, _applied) = cache();
    cache.apply([put("ns/a", 11), put("ns/b", 12), put("ns/a", 13), delete("ns/b", 14)], Instant::now());
    let at = |revision| listing(&cache.snapshot_at(revision).expect("in the window"));
    assert_eq!(at(10), []);
    assert_eq!(at(12), [("ns/a".into(), 11), ("ns/b".into(), 12)]);
    assert_eq!(at(14), [("ns/a".into(), 13)]);
    assert_eq!(cache.snapshot_at(9).err(), Some(Expired { asked: 9, floor: 10 }));
}

#[test]
fn a_snapshot_is_exact_at_its_revision() {
    let (cache, applied) = cache();
    cache.apply([put("ns/a", 11)], Instant::now());
    assert_eq!(cache.snapshot().revision, 11, "events may be ahead of the published revision");
    applied.send_replace(40);
    assert_eq!(cache.snapshot().revision, 40, "other resources' writes count");
}

#[test]
fn ranges_respect_namespaces_and_continue_after_a_key() {
    let (cache, _applied) = cache();
    cache.apply([put("a/x", 11), put("a-b/x", 12), put("a/y", 13), put("b/x", 14)], Instant::now());
    let snapshot = cache.snapshot();
    let keys = |ns, start| snapshot.range(ns, start).map(|e| e.key.to_string()).collect::<Vec<_>>();
    assert_eq!(keys(Some("a"), None), ["a/x", "a/y"]);
    assert_eq!(keys(None, None), ["a-b/x", "a/x", "a/y", "b/x"]);
    assert_eq!(keys(None, Some("a/x\0")), ["a/y", "b/x"]);
}

#[test]
fn old_events_leave_the_window_and_raise_the_floor() {
    let (cache, _applied) = cache();
    let long_ago = Instant::now();
    for n in 0..WINDOW_LEAST as i64 + 5 {
        cache.apply([put("ns/a", 11 + n)], long_ago);
    }
    assert!(cache.watch(11).is_ok(), "young events stay");
    cache.apply([put("ns/a", 5_000)], long_ago + WINDOW_AGE * 2);
    assert_eq!(cache.watch(11).err(), Some(Expired { asked: 11, floor: 16 }));
}

#[tokio::test]
async fn a_slow_watcher_is_cut_off_and_the_others_are_not() {
    let (cache, _applied) = cache();
    let (mut slow, mut quick) = (cache.watch(10).expect("floor"), cache.watch(10).expect("floor"));
    let began = Instant::now();
    let mut seen = Vec::new();
    for n in 0..WINDOW_LEAST as i64 + 5 {
        // The last events come when the first are old.
        let now = if n < WINDOW_LEAST as i64 { began } else { began + WINDOW_AGE * 2 };
        cache.apply([put("ns/a", 11 + n)], now);
        seen.extend(quick.next().await.expect("never behind").iter().map(|c| c.revision()));
    }
    assert_eq!(seen, (11..11 + WINDOW_LEAST as i64 + 5).collect::<Vec<_>>());
    assert_eq!(slow.next().await.err(), Some(Expired { asked: 10, floor: 15 }));
}

#[test]
fn only_the_latest_events_keep_their_frames() {
    let (cache, _applied) = cache();
    cache.apply((0..400).map(|n| put("ns/a", 11 + n)), Instant::now());
    let frames = |cache: &WatchCache| -> usize {
        let changes = cache.after(10, usize::MAX).expect("in the window");
        for change in &changes {
            let text = format!("\"resourceVersion\":\"{}\"", change.revision());
            assert!(String::from_utf8_lossy(&change.frame()).contains(&text), "every event can be sent");
        }
        changes.iter().filter(|c| c.frames.lock().json.is_some()).count()
    };
    assert_eq!(frames(&cache), FRAMES);
    cache.apply((400..500).map(|n| put("ns/a", 11 + n)), Instant::now());
    assert_eq!(frames(&cache), FRAMES);
}
