//! Whether a watch told every change of its selection once, in order, with the right object, and whether its bookmarks
//! were true.

use std::collections::BTreeMap;

use super::{Item, Log, ReadAt, Revision, Seen, Selection, Start, Watch, operations};

/// Why the watch is wrong.
pub fn check(log: &Log, watch: &Watch) -> Result<(), String> {
    let frames: Vec<&Seen> = watch.frames.iter().map(|(_, seen)| seen).collect();
    match watch.start {
        Start::After(revision) => live(log, &watch.selection, revision, &frames),
        Start::State => {
            let end = frames.iter().position(|seen| matches!(seen, Seen::Bookmark { ends_state: true, .. }));
            // Cut off before the state was told: nothing was promised yet.
            let Some(end) = end else { return Ok(()) };
            let Seen::Bookmark { revision, .. } = frames[end] else { return Ok(()) };
            let floor = match watch.at {
                ReadAt::Latest => log.floor(watch.call),
                ReadAt::NotOlderThan(asked) | ReadAt::Exact(asked) => asked,
                ReadAt::Any => 0,
            };
            if *revision < floor {
                return Err(format!("the state is stale: at {revision}, and {floor} was asked for"));
            }
            let mut state = BTreeMap::new();
            for seen in &frames[..end] {
                replay(&mut state, seen)?;
            }
            operations::snapshot(log, &watch.selection, *revision, state.values().copied())?;
            live(log, &watch.selection, *revision, &frames[end + 1..])
        }
        Start::Legacy => legacy(log, &watch.selection, &frames),
    }
}

/// The revisions of which a watch of everything tells all: after the first, up to the second.
pub fn covered(watch: &Watch) -> Option<(Revision, Revision)> {
    let frames = || watch.frames.iter().map(|(_, seen)| seen);
    let from = match watch.start {
        Start::After(revision) => revision,
        Start::State => frames().find_map(|seen| match seen {
            Seen::Bookmark { revision, ends_state: true } => Some(*revision),
            _ => None,
        })?,
        Start::Legacy => return None,
    };
    watch.selection.is_everything().then(|| (from, frames().filter_map(revision).max().unwrap_or(from).max(from)))
}

/// Frames after a revision are exactly the log's changes after it.
fn live(log: &Log, selection: &Selection, from: Revision, frames: &[&Seen]) -> Result<(), String> {
    let reached = frames.iter().filter_map(|seen| revision(seen)).max().unwrap_or(from).max(from);
    let expected: Vec<Seen> = log.changes(from, reached).filter_map(|change| told(selection, change)).collect();
    let mut expected = expected.iter().peekable();
    let mut cursor = from;
    for (at, seen) in frames.iter().enumerate() {
        match seen {
            Seen::Error { .. } if at + 1 == frames.len() => {}
            Seen::Error { .. } => return Err("it goes on after an error".into()),
            Seen::Bookmark { revision, .. } => {
                if *revision < cursor {
                    return Err(format!("a bookmark goes back from {cursor} to {revision}"));
                }
                cursor = *revision;
                if let Some(early) = expected.peek().filter(|e| self::revision(e).is_some_and(|r| r <= cursor)) {
                    return Err(format!("the bookmark at {revision} is not true: {early:?} was not told"));
                }
            }
            event => {
                let next = revision(event).unwrap_or_default();
                if next <= cursor {
                    return Err(format!("{event:?} comes after {cursor}"));
                }
                cursor = next;
                // The last that was told before a kill, to nobody else: it left the selection or is gone.
                if matches!(event, Seen::Deleted(_)) && selection.color.is_some() && log.untold(next) {
                    continue;
                }
                match expected.next() {
                    Some(wanted) if wanted == *event => {}
                    Some(wanted) => return Err(format!("{wanted:?} was due, and {event:?} told")),
                    None => return Err(format!("{event:?} was told and never happened")),
                }
            }
        }
    }
    match expected.next() {
        Some(lost) => Err(format!("lost: {lost:?}")),
        None => Ok(()),
    }
}

/// Where the end of the state is not told: what the frames add up to is the state at every bookmark.
fn legacy(log: &Log, selection: &Selection, frames: &[&Seen]) -> Result<(), String> {
    let mut state = BTreeMap::new();
    for seen in frames {
        match seen {
            Seen::Bookmark { revision, .. } => {
                operations::snapshot(log, selection, *revision, state.values().copied())?;
            }
            Seen::Error { .. } => {}
            event => replay(&mut state, event)?,
        }
    }
    Ok(())
}

fn replay<'a>(state: &mut BTreeMap<&'a str, &'a Item>, seen: &'a Seen) -> Result<(), String> {
    let fits = match seen {
        Seen::Added(item) => state.insert(&item.key, item).is_none(),
        Seen::Modified(item) => state.insert(&item.key, item).is_some(),
        Seen::Deleted(item) => state.remove(item.key.as_str()).is_some(),
        Seen::Bookmark { .. } | Seen::Error { .. } => true,
    };
    if fits { Ok(()) } else { Err(format!("{seen:?} does not follow from what was told before")) }
}

/// What a change is to a watch of a selection.
fn told(selection: &Selection, change: (Revision, Option<&Item>, Option<&Item>)) -> Option<Seen> {
    let (revision, before, after) = change;
    let before = before.filter(|item| selection.matches(item));
    let after = after.filter(|item| selection.matches(item));
    match (before, after) {
        (None, None) => None,
        (None, Some(item)) => Some(Seen::Added(item.clone())),
        (Some(_), Some(item)) => Some(Seen::Modified(item.clone())),
        // The last object of the selection, at the revision that took it out.
        (Some(item), None) => Some(Seen::Deleted(Item { revision, ..item.clone() })),
    }
}

fn revision(seen: &Seen) -> Option<Revision> {
    match seen {
        Seen::Added(item) | Seen::Modified(item) | Seen::Deleted(item) => Some(item.revision),
        Seen::Bookmark { revision, .. } => Some(*revision),
        Seen::Error { .. } => None,
    }
}
