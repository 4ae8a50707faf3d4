//! Whether a request's answer is one that some order of the writes, with this request between its call and its return,
//! explains.

use super::{Action, Item, Log, Op, Outcome, ReadAt, Revision, Selection};

/// Why the answer is wrong.
pub fn check(log: &Log, op: &Op) -> Result<(), String> {
    match (&op.action, &op.outcome) {
        (_, Outcome::Unknown) => Ok(()),
        (Action::Get { key, at }, Outcome::Item(item)) => {
            same(key, &item.key, "key")?;
            read(log, op, key, *at, |state| state == Some(item), "the object")
        }
        (Action::Get { key, at }, Outcome::Refused { code: 404, .. }) => {
            read(log, op, key, *at, |state| state.is_none(), "its absence")
        }
        (Action::List { selection, at }, Outcome::Pages(pages)) => list(log, op, selection, *at, pages),
        // Too old to be served exactly any more; the workload asks that not all are.
        (Action::List { .. } | Action::Get { .. }, Outcome::Refused { code: 410, .. }) => Ok(()),
        (Action::Create { .. } | Action::Update { .. } | Action::Patch { .. }, Outcome::Item(item)) => {
            written(log, op, item)
        }
        (Action::Delete { key, from }, Outcome::Deleted { uid }) => deleted(log, op, key, *from, uid),
        (action, Outcome::Refused { code, reason }) => refused(log, op, action, *code, reason),
        _ => Err("the answer is not one to this question".into()),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(asked: T, told: T, what: &str) -> Result<(), String> {
    if asked == told { Ok(()) } else { Err(format!("{what} {asked:?} was asked for, and {told:?} told")) }
}

/// A write takes effect between its call and its return, so its revision does too.
fn within(log: &Log, op: &Op, revision: Revision) -> Result<(), String> {
    let (floor, ceiling) = (log.floor(op.call), log.ceiling(op.ret));
    if revision <= floor {
        return Err(format!("written at {revision}, but {floor} was known before it was asked for"));
    }
    if revision >= ceiling {
        return Err(format!("written at {revision}, but a later request was written at {ceiling}"));
    }
    Ok(())
}

fn written(log: &Log, op: &Op, item: &Item) -> Result<(), String> {
    same(op.action.key(), Some(item.key.as_str()), "key")?;
    same(op.action.value(), Some(item.value.as_str()), "value")?;
    within(log, op, item.revision)?;
    let Some((before, _)) = log.around(&item.key, item.revision) else {
        return Err("the write is not in the log".into());
    };
    match (&op.action, before) {
        (Action::Create { .. }, None) => Ok(()),
        (Action::Create { .. }, Some(there)) => Err(format!("created over {there:?}")),
        // Nobody may have seen who made it, where the server was killed in between.
        (_, None) if log.obscure(&item.key, item.revision - 1) => Ok(()),
        (_, None) => Err("changed what is not there".into()),
        (_, Some(there)) if there.uid != item.uid => Err(format!("changed the uid of {there:?}")),
        (Action::Update { from, .. }, Some(there)) if there.revision != *from => {
            Err(format!("lost update: {there:?} was overwritten"))
        }
        _ => Ok(()),
    }
}

fn deleted(log: &Log, op: &Op, key: &str, from: Option<Revision>, uid: &str) -> Result<(), String> {
    // Nobody saw the event where the server was killed right after; the next reads say whether it is gone.
    let Some((revision, last)) = log.deletion(key, uid) else {
        let first = log.last_seen(key, uid).map_or(1, |revision| revision + 1);
        let unseen = log.covers(first, log.ceiling(op.ret).saturating_sub(1));
        return if unseen { Err("no watch told the delete".into()) } else { Ok(()) };
    };
    within(log, op, revision)?;
    match from {
        Some(from) if from != last.revision => Err(format!("deleted {last:?} against its precondition")),
        _ => Ok(()),
    }
}

fn refused(log: &Log, op: &Op, action: &Action, code: u16, reason: &str) -> Result<(), String> {
    let key = action.key().unwrap_or_default();
    let (floor, ceiling) = (log.floor(op.call), log.ceiling(op.ret));
    let (explained, what) = match (action, code, reason) {
        (Action::Create { .. }, 409, "AlreadyExists") => {
            (log.possible(key, floor, ceiling, |state| state.is_some()), "it was never there meanwhile")
        }
        (Action::Update { .. } | Action::Patch { .. } | Action::Delete { .. }, 404, "NotFound") => {
            (log.possible(key, floor, ceiling, |state| state.is_none()), "it was there all the time")
        }
        (Action::Update { from, .. } | Action::Delete { from: Some(from), .. }, 409, "Conflict") => {
            let other = |state: Option<&Item>| state.is_none_or(|item| item.revision != *from);
            (log.possible(key, floor, ceiling, other), "nobody changed it meanwhile")
        }
        (Action::Patch { .. } | Action::Delete { .. }, 409, "Conflict") => (true, ""),
        _ => (false, "no such refusal is expected"),
    };
    if explained { Ok(()) } else { Err(format!("refused with {code} {reason}: {what}")) }
}

fn read(
    log: &Log,
    op: &Op,
    key: &str,
    at: ReadAt,
    state: impl Fn(Option<&Item>) -> bool,
    what: &str,
) -> Result<(), String> {
    let low = match at {
        ReadAt::Latest => log.floor(op.call),
        ReadAt::Any => 0,
        ReadAt::NotOlderThan(revision) | ReadAt::Exact(revision) => revision,
    };
    let high = log.ceiling(op.ret);
    if log.possible(key, low, high, state) {
        return Ok(());
    }
    Err(format!("{what} was not the state at any revision from {low} to before {high}"))
}

fn list(log: &Log, op: &Op, selection: &Selection, at: ReadAt, pages: &[(Revision, Vec<Item>)]) -> Result<(), String> {
    let Some((revision, _)) = pages.first() else { return Err("no page".into()) };
    if let Some((other, _)) = pages.iter().find(|(other, _)| other != revision) {
        return Err(format!("the pages are of two revisions, {revision} and {other}"));
    }
    let (floor, ceiling) = (log.floor(op.call), log.ceiling(op.ret));
    match at {
        ReadAt::Latest if *revision < floor => return Err(format!("stale: at {revision}, and {floor} was known")),
        ReadAt::NotOlderThan(asked) if *revision < asked => return Err(format!("at {revision}")),
        ReadAt::Exact(asked) => same(asked, *revision, "revision")?,
        _ => {}
    }
    if *revision >= ceiling {
        return Err(format!("at {revision}, but a later request was written at {ceiling}"));
    }
    let items: Vec<&Item> = pages.iter().flat_map(|(_, items)| items).collect();
    if let Some(pair) = items.windows(2).find(|pair| pair[0].key >= pair[1].key) {
        return Err(format!("{} before {}", pair[0].key, pair[1].key));
    }
    snapshot(log, selection, *revision, items.into_iter())
}

/// Whether those objects, and no others of the selection, were there at the revision.
pub fn snapshot<'a>(
    log: &Log,
    selection: &Selection,
    revision: Revision,
    items: impl Iterator<Item = &'a Item>,
) -> Result<(), String> {
    let items: std::collections::BTreeMap<&str, &Item> = items.map(|item| (item.key.as_str(), item)).collect();
    for item in items.values() {
        if !selection.matches(item) {
            return Err(format!("{item:?} is not of the selection"));
        }
        if !log.possible(&item.key, revision, revision + 1, |state| state == Some(item)) {
            return Err(format!("{item:?} was not the state at {revision}"));
        }
    }
    let missing = log.keys().filter(|key| !items.contains_key(key)).find(|key| {
        !log.possible(key, revision, revision + 1, |state| state.is_none_or(|item| !selection.matches(item)))
            && !log.obscure(key, revision)
    });
    match missing {
        Some(key) => Err(format!("{key} was there at {revision} and is not shown")),
        None => Ok(()),
    }
}
