//! A client that writes, reads and lists, all by seeded choice.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ferry_tests::history::{Action, Item, Op, Outcome, ReadAt, Revision, Selection};
use http::Method;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use testkit::{Answer, Caller};

use crate::world::{self, COLORS, NAMESPACES, World};

const KEYS: usize = 7;

struct Operator {
    world: Arc<World>,
    /// A server each; a request goes to any.
    callers: Vec<Caller>,
    client: usize,
    random: StdRng,
    /// What it saw last of each key.
    seen: HashMap<String, Item>,
    /// A revision that a list of it had.
    listed: Revision,
}

pub async fn run(world: Arc<World>, callers: Vec<Caller>, client: usize, seed: u64) {
    let random = StdRng::seed_from_u64(seed);
    let mut operator = Operator { world, callers, client, random, seen: HashMap::new(), listed: 0 };
    while operator.world.running() {
        let action = operator.choose();
        let call = operator.world.tick();
        let outcome = operator.act(&action).await;
        operator.learn(&action, &outcome);
        let unknown = matches!(outcome, Outcome::Unknown);
        let ret = operator.world.tick();
        operator.world.op(Op { client, call, ret, action, outcome });
        if unknown {
            // The server is down, or coming up: let it.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Operator {
    fn choose(&mut self) -> Action {
        let namespace = NAMESPACES[self.random.random_range(0..NAMESPACES.len())];
        let key = format!("{namespace}/k{}", self.random.random_range(0..KEYS));
        let value = self.world.value(self.client);
        let known = self.seen.get(&key).map(|item| item.revision);
        match (self.random.random_range(0..100), known) {
            (0..20, _) => Action::Create { key, value },
            (20..35, Some(from)) => Action::Update { key, value, from },
            (35..50, _) => Action::Patch { key, value },
            (50..57, _) => Action::Delete { key, from: None },
            (57..62, Some(from)) => Action::Delete { key, from: Some(from) },
            (62..80, _) => Action::Get { key, at: ReadAt::Latest },
            (80..83, _) => Action::Get { key, at: ReadAt::Any },
            (83.., _) => {
                let color = self.random.random_bool(0.4).then(|| self.color());
                let namespace = self.random.random_bool(0.5).then(|| namespace.to_owned());
                let at = match self.random.random_range(0..6) {
                    0 if self.listed > 0 => ReadAt::Exact(self.listed),
                    1 if self.listed > 0 => ReadAt::NotOlderThan(self.listed),
                    2 => ReadAt::Any,
                    _ => ReadAt::Latest,
                };
                Action::List { selection: Selection { namespace, color }, at }
            }
            _ => Action::Get { key, at: ReadAt::Latest },
        }
    }

    fn color(&mut self) -> String {
        COLORS[self.random.random_range(0..COLORS.len())].to_owned()
    }

    fn learn(&mut self, action: &Action, outcome: &Outcome) {
        match outcome {
            Outcome::Item(item) => drop(self.seen.insert(item.key.clone(), item.clone())),
            Outcome::Pages(pages) => self.listed = pages.first().map_or(self.listed, |(revision, _)| *revision),
            Outcome::Deleted { .. } | Outcome::Refused { code: 404, .. } => {
                action.key().map(|key| self.seen.remove(key));
            }
            Outcome::Refused { .. } | Outcome::Unknown => {}
        }
    }

    fn caller(&mut self) -> Caller {
        let any = self.random.random_range(0..self.callers.len());
        self.callers[any].clone()
    }

    async fn act(&mut self, action: &Action) -> Outcome {
        let color = self.color();
        match action {
            Action::Create { key, value } => {
                let body = world::body(key, value, &color, None);
                let namespace = key.split_once('/').map(|(namespace, _)| namespace);
                self.send(Method::POST, &world::collection(namespace), Some(body)).await
            }
            Action::Update { key, value, from } => {
                let body = world::body(key, value, &color, Some(*from));
                self.send(Method::PUT, &world::path(key), Some(body)).await
            }
            Action::Patch { key, value } => {
                let body = json!({"metadata": {"labels": {"color": color}}, "data": {"value": value}});
                let (path, media) = (world::path(key), "application/merge-patch+json");
                let caller = self.caller();
                let answer = caller.send_as(Method::PATCH, &path, media, Some(&body));
                answer.await.map_or(Outcome::Unknown, |answer| outcome(&answer))
            }
            Action::Delete { key, from } => {
                let body = from.map(|from| json!({"preconditions": {"resourceVersion": from.to_string()}}));
                self.send(Method::DELETE, &world::path(key), body).await
            }
            Action::Get { key, at } => {
                let query = if *at == ReadAt::Any { "?resourceVersion=0" } else { "" };
                self.send(Method::GET, &format!("{}{query}", world::path(key)), None).await
            }
            Action::List { selection, at } => self.list(selection, *at).await,
        }
    }

    async fn send(&mut self, method: Method, path: &str, body: Option<Value>) -> Outcome {
        let answer = self.caller().send(method, path, body.as_ref()).await;
        answer.map_or(Outcome::Unknown, |answer| outcome(&answer))
    }

    async fn list(&mut self, selection: &Selection, at: ReadAt) -> Outcome {
        let query = match at {
            ReadAt::Latest => String::new(),
            ReadAt::Any => "&resourceVersion=0".into(),
            ReadAt::NotOlderThan(revision) => format!("&resourceVersion={revision}&resourceVersionMatch=NotOlderThan"),
            ReadAt::Exact(revision) => format!("&resourceVersion={revision}&resourceVersionMatch=Exact"),
        };
        let mut path = list_path(selection);
        if self.random.random_bool(0.5) {
            path += &format!("&limit={}", self.random.random_range(1..6));
        }
        let mut pages = Vec::new();
        let mut next = query;
        loop {
            let Ok(answer) = self.caller().get(&format!("{path}{next}")).await else { return Outcome::Unknown };
            if answer.code == 410 && !pages.is_empty() {
                return self.rest(&path, &answer).await;
            }
            if answer.code != 200 {
                return outcome(&answer);
            }
            pages.push(page(&answer.body));
            match answer.body["metadata"]["continue"].as_str() {
                Some(token) => next = format!("&continue={token}"),
                None => return Outcome::Pages(pages),
            }
        }
    }

    /// A list that expired in the middle can be continued inconsistently.
    async fn rest(&mut self, path: &str, expired: &Answer) -> Outcome {
        let token = expired.body["metadata"]["continue"].as_str().unwrap_or_default();
        match self.caller().get(&format!("{path}&continue={token}")).await {
            Ok(answer) if answer.code == 200 => Outcome::Refused { code: 410, reason: "Expired".into() },
            Ok(answer) => Outcome::Refused { code: answer.code, reason: format!("after 410: {}", answer.body) },
            Err(_) => Outcome::Unknown,
        }
    }
}

pub fn list_path(selection: &Selection) -> String {
    let labels = selection.color.as_ref().map(|color| format!("color={color}"));
    let labels = labels.unwrap_or_else(|| "color".to_owned());
    format!("{}?labelSelector={}", world::collection(selection.namespace.as_deref()), labels.replace('=', "%3D"))
}

pub fn page(list: &Value) -> (Revision, Vec<Item>) {
    let revision = list["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok());
    let items = list["items"].as_array().map(|items| items.iter().filter_map(world::item).collect());
    (revision.unwrap_or_default(), items.unwrap_or_default())
}

/// What an answer says; one that leaves open what happened is unknown.
fn outcome(answer: &Answer) -> Outcome {
    match answer.code {
        429 | 503 | 504 => Outcome::Unknown,
        200 | 201 => match world::item(&answer.body) {
            Some(item) => Outcome::Item(item),
            None => Outcome::Deleted { uid: answer.body["details"]["uid"].as_str().unwrap_or_default().into() },
        },
        code => {
            let reason = answer.body["reason"].as_str().unwrap_or_default();
            let known = matches!(reason, "AlreadyExists" | "NotFound" | "Conflict" | "Expired");
            let reason = if known { reason.to_owned() } else { format!("{reason}: {}", answer.body["message"]) };
            Outcome::Refused { code, reason }
        }
    }
}
