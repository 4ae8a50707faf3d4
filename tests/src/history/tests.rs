use super::*;

fn item(key: &str, revision: Revision, uid: &str, value: &str, color: &str) -> Item {
    Item { key: key.into(), revision, uid: uid.into(), value: value.into(), color: color.into() }
}

fn op(call: Tick, ret: Tick, action: Action, outcome: Outcome) -> Op {
    Op { client: 0, call, ret, action, outcome }
}

fn create(call: Tick, ret: Tick, made: Item) -> Op {
    let action = Action::Create { key: made.key.clone(), value: made.value.clone() };
    op(call, ret, action, Outcome::Item(made))
}

fn get(call: Tick, ret: Tick, shown: Item) -> Op {
    op(call, ret, Action::Get { key: shown.key.clone(), at: ReadAt::Latest }, Outcome::Item(shown))
}

fn list(call: Tick, ret: Tick, at: ReadAt, pages: Vec<(Revision, Vec<Item>)>) -> Op {
    op(call, ret, Action::List { selection: Selection::default(), at }, Outcome::Pages(pages))
}

fn first() -> Item {
    item("n/a", 10, "u1", "v1", "red")
}

fn second() -> Item {
    item("n/a", 11, "u1", "v2", "blue")
}

fn deleted(revision: Revision) -> Item {
    Item { revision, ..second() }
}

/// A create (ticks 1 to 2), an update (3 to 4) and a delete (5 to 6), as a correct server answers.
fn writes() -> Vec<Op> {
    let update = Action::Update { key: "n/a".into(), value: "v2".into(), from: 10 };
    let delete = Action::Delete { key: "n/a".into(), from: None };
    vec![
        create(1, 2, first()),
        op(3, 4, update, Outcome::Item(second())),
        op(5, 6, delete, Outcome::Deleted { uid: "u1".into() }),
    ]
}

fn watch(color: Option<&str>, start: Start, frames: Vec<Seen>) -> Watch {
    let selection = Selection { namespace: None, color: color.map(str::to_owned) };
    let frames = frames.into_iter().enumerate().map(|(at, seen)| (10 + at as Tick, seen)).collect();
    Watch { client: 1, selection, start, at: ReadAt::Latest, call: 0, frames }
}

fn everything() -> Watch {
    let frames = vec![Seen::Added(first()), Seen::Modified(second()), Seen::Deleted(deleted(12))];
    watch(None, Start::After(9), frames)
}

/// The faults of the writes above with something added.
fn with(ops: impl IntoIterator<Item = Op>, watches: impl IntoIterator<Item = Watch>) -> Vec<String> {
    let ops = writes().into_iter().chain(ops).collect();
    History { seed: 0, ops, watches: watches.into_iter().collect() }.faults()
}

#[track_caller]
fn refused(faults: Vec<String>, why: &str) {
    assert!(faults.iter().any(|fault| fault.contains(why)), "{why:?} is not among {faults:#?}");
}

#[track_caller]
fn fine(faults: Vec<String>) {
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn what_a_correct_server_shows_is_accepted() {
    let bookmark = |revision| Seen::Bookmark { revision, ends_state: false };
    let end = |revision| Seen::Bookmark { revision, ends_state: true };
    let red = vec![Seen::Added(first()), Seen::Deleted(Item { revision: 11, ..first() }), bookmark(12)];
    let blue = vec![bookmark(10), Seen::Added(second()), bookmark(11), Seen::Deleted(deleted(12))];
    let state = vec![Seen::Added(first()), end(10), Seen::Modified(second())];
    fine(with(
        [
            get(2, 4, first()),
            get(2, 4, second()),
            list(2, 5, ReadAt::Latest, vec![(10, vec![first()])]),
            list(20, 21, ReadAt::Exact(11), vec![(11, vec![second()])]),
            list(20, 21, ReadAt::Latest, vec![(12, vec![])]),
        ],
        [
            everything(),
            watch(Some("red"), Start::After(9), red),
            watch(Some("blue"), Start::After(9), blue),
            watch(None, Start::State, state),
        ],
    ));
}

#[test]
fn stale_and_premature_reads_are_found() {
    refused(with([get(5, 6, first())], [everything()]), "was not the state at any revision");
    refused(with([list(5, 6, ReadAt::Latest, vec![(10, vec![first()])])], []), "stale: at 10, and 11 was known");
    let early = create(30, 31, item("n/b", 14, "u2", "v3", "red"));
    refused(with([early, list(20, 21, ReadAt::Any, vec![(15, vec![])])], []), "a later request was written at 14");
    let gone = op(
        3,
        3,
        Action::Get { key: "n/a".into(), at: ReadAt::Latest },
        Outcome::Refused { code: 404, reason: "NotFound".into() },
    );
    refused(with([gone], [everything()]), "its absence was not the state");
}

#[test]
fn lists_that_are_no_snapshots_are_found() {
    let at = |revision, items| [list(20, 21, ReadAt::Any, vec![(revision, items)])];
    refused(with(at(11, vec![first()]), [everything()]), "was not the state at 11");
    refused(with(at(11, vec![]), [everything()]), "n/a was there at 11 and is not shown");
    refused(with(at(12, vec![second()]), [everything()]), "was not the state at 12");
    let torn = vec![(10, vec![first()]), (12, vec![])];
    refused(with([list(20, 21, ReadAt::Latest, torn)], [everything()]), "the pages are of two revisions");
}

#[test]
fn wrong_writes_are_found() {
    let conflict = |from| {
        let action = Action::Update { key: "n/a".into(), value: "v9".into(), from };
        op(3, 4, action, Outcome::Refused { code: 409, reason: "Conflict".into() })
    };
    fine(with([conflict(10)], [everything()]));
    let lost = op(
        3,
        4,
        Action::Update { key: "n/a".into(), value: "v9".into(), from: 9 },
        Outcome::Item(item("n/a", 11, "u1", "v9", "red")),
    );
    refused(History { ops: vec![create(1, 2, first()), lost], ..History::default() }.faults(), "lost update");
    let twice = create(7, 8, item("n/a", 13, "u2", "v1", "red"));
    refused(with([twice], [everything()]), "v1 was written twice");
    refused(with([create(7, 8, item("n/a", 12, "u2", "v4", "red"))], [everything()]), "a delete and as another thing");
    refused(with([create(7, 8, item("n/b", 9, "u2", "v4", "red"))], []), "written at 9, but 11 was known");
    refused(with([get(20, 21, item("n/c", 5, "u", "v5", "red"))], []), "nobody wrote");
    let over = create(7, 8, item("n/a", 13, "u2", "v4", "red"));
    let unseen = watch(
        None,
        Start::After(9),
        vec![Seen::Added(first()), Seen::Modified(second()), Seen::Added(item("n/a", 13, "u2", "v4", "red"))],
    );
    refused(with([over], [unseen]), "without a delete");
}

#[test]
fn watches_that_lose_double_or_reorder_are_found() {
    let broken = |frames| with([], [everything(), watch(None, Start::After(9), frames)]);
    refused(broken(vec![Seen::Added(first()), Seen::Deleted(deleted(12))]), "was due");
    refused(broken(vec![Seen::Added(first()), Seen::Added(first())]), "comes after 10");
    refused(broken(vec![Seen::Modified(second()), Seen::Added(first())]), "was due");
    refused(broken(vec![Seen::Modified(first())]), "was due");
    refused(broken(vec![Seen::Bookmark { revision: 10, ends_state: false }]), "is not true");
    let old = Seen::Deleted(second());
    refused(broken(vec![Seen::Added(first()), Seen::Modified(second()), old]), "a delete and as another thing");
    let stays = watch(
        Some("red"),
        Start::After(9),
        vec![Seen::Added(first()), Seen::Bookmark { revision: 12, ends_state: false }],
    );
    refused(with([], [everything(), stays]), "is not true");
    let state = watch(None, Start::State, vec![Seen::Bookmark { revision: 11, ends_state: true }]);
    refused(with([], [everything(), state]), "is not shown");
}

#[test]
fn an_acknowledged_write_that_a_kill_took_is_found() {
    let lost = list(20, 21, ReadAt::Latest, vec![(13, vec![])]);
    fine(with([lost.clone()], []));
    let only_created = History { ops: vec![create(1, 2, first()), lost], ..History::default() };
    refused(only_created.faults(), "n/a was there at 13 and is not shown");
    // A delete without an answer may have happened.
    let delete = op(5, 6, Action::Delete { key: "n/a".into(), from: None }, Outcome::Unknown);
    let lost = list(20, 21, ReadAt::Latest, vec![(13, vec![])]);
    fine(History { ops: vec![create(1, 2, first()), delete, lost], ..History::default() }.faults());
}
