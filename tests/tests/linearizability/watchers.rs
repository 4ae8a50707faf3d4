//! Clients that watch, as informers do: from a list on, from where the last watch ended, or from the state.

use std::sync::Arc;
use std::time::Duration;

use ferry_tests::history::{Action, Op, Outcome, ReadAt, Revision, Seen, Selection, Start, Watch};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use testkit::{Caller, Lines};

use crate::operators::{list_path, page};
use crate::world::{self, World};

/// Far more than the last events take; only to end a watch that hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a client watches.
pub struct Role {
    namespace: Option<&'static str>,
    color: Option<&'static str>,
    begin: Begin,
    /// Reads slowly.
    slow: bool,
    /// Begins anew after so many frames; 0: never by itself.
    frames: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Begin {
    /// With a list, and then where the watch before ended.
    List,
    /// With `sendInitialEvents`.
    State,
    /// With resourceVersion 0.
    Zero,
}

const fn role(namespace: Option<&'static str>, color: Option<&'static str>, begin: Begin, frames: usize) -> Role {
    Role { namespace, color, begin, slow: false, frames }
}

pub const ROLES: &[Role] = &[
    role(None, None, Begin::List, 0),
    role(None, Some("red"), Begin::List, 0),
    role(Some("linear-a"), None, Begin::List, 40),
    role(None, None, Begin::State, 60),
    role(Some("linear-b"), Some("blue"), Begin::State, 0),
    role(Some("linear-b"), None, Begin::Zero, 80),
    Role { slow: true, ..role(None, None, Begin::List, 0) },
];

/// Watches until everything has been seen; says so where that does not happen.
pub async fn run(world: Arc<World>, callers: Vec<Caller>, client: usize, role: &Role, seed: u64) -> Result<(), String> {
    let selection = Selection { namespace: role.namespace.map(str::to_owned), color: role.color.map(str::to_owned) };
    let mut random = StdRng::seed_from_u64(seed);
    let mut resume = None;
    let watching = async {
        loop {
            let caller = &callers[random.random_range(0..callers.len())];
            let (start, at, query) = match role.begin {
                Begin::State => (
                    Start::State,
                    ReadAt::Latest,
                    "&resourceVersionMatch=NotOlderThan&sendInitialEvents=true".to_owned(),
                ),
                Begin::Zero => (Start::Legacy, ReadAt::Any, "&resourceVersion=0".to_owned()),
                Begin::List => {
                    if resume.is_none() {
                        resume = list(&world, caller, client, &selection).await;
                    }
                    let Some(revision) = resume else {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        continue;
                    };
                    (Start::After(revision), ReadAt::Latest, format!("&resourceVersion={revision}"))
                }
            };
            let call = world.tick();
            let path = format!("{}&watch=true&allowWatchBookmarks=true{query}", list_path(&selection));
            let watch = Watch { client, selection: selection.clone(), start, at, call, frames: Vec::new() };
            let mut recorded = Recorded { world: &world, watch };
            let watch = &mut recorded.watch;
            let ended = match caller.open(&path).await {
                Ok(lines) if lines.code == 200 => follow(&world, lines, watch, role, &mut random).await,
                Ok(lines) if lines.code == 410 => Ended::Expired,
                _ => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Ended::Broken
                }
            };
            resume = match ended {
                Ended::Expired => None,
                _ => watch.frames.iter().filter_map(|(_, seen)| revision(seen)).max().or(resume),
            };
            if ended == Ended::Complete {
                return;
            }
        }
    };
    let late = async {
        world.end(&selection).await;
        tokio::time::sleep(PATIENCE).await;
    };
    tokio::select! {
        () = watching => Ok(()),
        () = late => Err(format!("client {client}'s watch of {selection:?} is stuck after {resume:?}")),
    }
}

/// A watch that is on record however it ends.
struct Recorded<'w> {
    world: &'w World,
    watch: Watch,
}

impl Drop for Recorded<'_> {
    fn drop(&mut self) {
        self.world.watch(self.watch.clone());
    }
}

#[derive(PartialEq)]
enum Ended {
    Complete,
    Expired,
    Broken,
}

async fn follow(world: &World, mut lines: Lines, watch: &mut Watch, role: &Role, random: &mut StdRng) -> Ended {
    let mut last = None;
    let selection = watch.selection.clone();
    let mut end = std::pin::pin!(world.end(&selection));
    loop {
        let begun = if let Start::After(revision) = watch.start { revision } else { 0 };
        let reached = watch.frames.iter().filter_map(|(_, seen)| revision(seen)).max().unwrap_or(begun);
        if last.is_some_and(|last| reached >= last) {
            return Ended::Complete;
        }
        let line = tokio::select! {
            revision = &mut end, if last.is_none() => {
                last = Some(revision);
                continue;
            }
            line = lines.next() => line,
        };
        let Some(seen) = line.as_ref().and_then(seen) else { return Ended::Broken };
        let error = matches!(seen, Seen::Error { .. });
        watch.frames.push((world.tick(), seen));
        if error {
            return Ended::Expired;
        }
        if role.frames > 0 && watch.frames.len() >= role.frames && last.is_none() {
            return Ended::Broken;
        }
        if role.slow && last.is_none() {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..15))).await;
        }
    }
}

/// The list that a watch begins after, which is an operation as any other.
async fn list(world: &World, caller: &Caller, client: usize, selection: &Selection) -> Option<Revision> {
    let call = world.tick();
    let answer = caller.get(&list_path(selection)).await.ok().filter(|answer| answer.code == 200)?;
    let (revision, items) = page(&answer.body);
    let action = Action::List { selection: selection.clone(), at: ReadAt::Latest };
    let outcome = Outcome::Pages(vec![(revision, items)]);
    world.op(Op { client, call, ret: world.tick(), action, outcome });
    Some(revision)
}

fn seen(frame: &Value) -> Option<Seen> {
    let object = &frame["object"];
    Some(match frame["type"].as_str()? {
        "ADDED" => Seen::Added(world::item(object)?),
        "MODIFIED" => Seen::Modified(world::item(object)?),
        "DELETED" => Seen::Deleted(world::item(object)?),
        "BOOKMARK" => Seen::Bookmark {
            revision: object["metadata"]["resourceVersion"].as_str()?.parse().ok()?,
            ends_state: object["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true",
        },
        _ => Seen::Error {
            code: object["code"].as_i64().unwrap_or_default(),
            message: object["message"].as_str().unwrap_or_default().to_owned(),
        },
    })
}

fn revision(seen: &Seen) -> Option<Revision> {
    match seen {
        Seen::Added(item) | Seen::Modified(item) | Seen::Deleted(item) => Some(item.revision),
        Seen::Bookmark { revision, .. } => Some(*revision),
        Seen::Error { .. } => None,
    }
}
