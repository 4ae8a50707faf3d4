//! The record of one request from its first byte to its last: what it is about, who asks and as whom, what its client is warned
//! of, what is noted of it, and how it is answered. Whatever tells of requests (metrics, the access log, audit) reads it when
//! the answer begins and when the last byte is sent, and keeps nothing of its own.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use parking_lot::Mutex;

use crate::request_info::RequestInfo;
use crate::user::UserInfo;
use crate::warnings::Warnings;

/// See the module.
#[derive(Debug)]
pub struct Record {
    /// The request's id: its client's, or a new one. Every answer tells it.
    pub id: HeaderValue,
    /// What it is about.
    pub info: RequestInfo,
    /// Whether its body is a server-side apply's.
    pub applies: bool,
    /// When its head was there.
    pub received: Instant,
    /// Texts for `Warning` headers.
    pub warnings: Warnings,
    /// What is noted for the audit log.
    pub annotations: Annotations,
    /// Whose credentials came with it; `None` where they are refused.
    identity: OnceLock<Option<UserInfo>>,
    /// As whom it acts, where that is somebody else.
    acting: OnceLock<UserInfo>,
    /// The name of its object, where the path does not say it.
    name: OnceLock<String>,
    timed_out: AtomicBool,
    answer: OnceLock<(u16, Duration)>,
    sent_bytes: AtomicU64,
}

impl Record {
    /// The record of a request whose head is there.
    pub fn begin(id: HeaderValue, parts: &Parts) -> Self {
        let applies = parts.headers.get(CONTENT_TYPE).is_some_and(|form| form == "application/apply-patch+yaml");
        Self::new(id, RequestInfo::of(parts), applies)
    }

    /// The record of a request about that.
    pub fn new(id: HeaderValue, info: RequestInfo, applies: bool) -> Self {
        Self {
            id,
            info,
            applies,
            received: Instant::now(),
            warnings: Warnings::default(),
            annotations: Annotations::default(),
            identity: OnceLock::new(),
            acting: OnceLock::new(),
            name: OnceLock::new(),
            timed_out: AtomicBool::new(false),
            answer: OnceLock::new(),
            sent_bytes: AtomicU64::new(0),
        }
    }

    /// Takes what authentication found.
    ///
    /// # Errors
    /// The refusal, as it was given.
    pub fn identified<E>(&self, outcome: Result<UserInfo, E>) -> Result<&UserInfo, E> {
        let (user, refusal) = match outcome {
            Ok(user) => (Some(user), None),
            Err(error) => (None, Some(error)),
        };
        let identity = self.identity.get_or_init(|| user).as_ref();
        match refusal {
            Some(error) => Err(error),
            None => Ok(identity.expect("a request is authenticated once")),
        }
    }

    /// Takes the user that the request acts as.
    pub fn acts_as(&self, user: UserInfo) -> &UserInfo {
        self.acting.get_or_init(|| user)
    }

    /// Whether its credentials were taken; `None` where it ended before they were looked at.
    pub fn authenticated(&self) -> Option<bool> {
        self.identity.get().map(Option::is_some)
    }

    /// Whose credentials it has.
    pub fn identity(&self) -> Option<&UserInfo> {
        self.identity.get()?.as_ref()
    }

    /// As whom it acts.
    pub fn user(&self) -> Option<&UserInfo> {
        self.acting.get().or_else(|| self.identity())
    }

    /// Takes the name of the object that the request made.
    pub fn named(&self, name: &str) {
        if self.info.name.is_empty() {
            let _ = self.name.set(name.to_owned());
        }
    }

    /// The name of the object that it is about; empty where there is none.
    pub fn name(&self) -> &str {
        self.name.get().unwrap_or(&self.info.name)
    }

    /// Its time was over.
    pub fn time_is_over(&self) {
        self.timed_out.store(true, Ordering::Relaxed);
    }

    /// Whether its time was over before it was answered.
    pub fn timed_out(&self) -> bool {
        self.timed_out.load(Ordering::Relaxed)
    }

    /// The head of the answer is there.
    pub fn answered(&self, code: u16) {
        let _ = self.answer.set((code, self.received.elapsed()));
    }

    /// The code of the answer, and how long it took to begin; `None` where the client has gone before.
    pub fn answer(&self) -> Option<(u16, Duration)> {
        self.answer.get().copied()
    }

    /// Part of the answer's body is on its way.
    pub fn sent(&self, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of the answer's body.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }
}

/// What is noted of a request for the audit log: text by key, such as `podsecurity.kubernetes.io/enforce-policy`.
#[derive(Debug, Default)]
pub struct Annotations(Mutex<Vec<(String, String)>>);

impl Annotations {
    /// Adds one. The first of a key stays, as upstream's (`apiserver/pkg/audit/context.go`).
    pub fn add(&self, key: &str, value: &str) {
        let mut noted = self.0.lock();
        match noted.iter().find(|(known, _)| known == key) {
            Some((_, first)) if first != value => {
                tracing::warn!(key, value, first, "an audit annotation was set already");
            }
            Some(_) => {}
            None => noted.push((key.to_owned(), value.to_owned())),
        }
    }

    /// All of them, in the order in which they were added.
    pub fn all(&self) -> Vec<(String, String)> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn record(path: &str) -> Record {
        Record::new(HeaderValue::from_static("id"), RequestInfo::parse(&Method::POST, path, ""), false)
    }

    fn user(name: &str) -> UserInfo {
        UserInfo { name: name.into(), ..UserInfo::default() }
    }

    #[test]
    fn a_request_acts_as_who_it_is_unless_it_impersonates() {
        let record = record("/api/v1/namespaces/a/pods");
        assert_eq!((record.authenticated(), record.user()), (None, None));
        record.identified(Ok::<_, ()>(user("a"))).unwrap();
        assert_eq!((record.authenticated(), record.user()), (Some(true), Some(&user("a"))));
        record.acts_as(user("b"));
        assert_eq!((record.identity(), record.user()), (Some(&user("a")), Some(&user("b"))));
    }

    #[test]
    fn a_refused_identity_is_nobody() {
        let record = record("/api/v1/namespaces/a/pods");
        assert_eq!(record.identified(Err("no")), Err("no"));
        assert_eq!((record.authenticated(), record.user()), (Some(false), None));
    }

    #[test]
    fn the_name_is_the_paths_or_else_the_made_objects() {
        let made = record("/api/v1/namespaces/a/pods");
        made.named("p-x7k2p");
        assert_eq!(made.name(), "p-x7k2p");
        let part = record("/api/v1/namespaces/a/pods/p/eviction");
        part.named("q");
        assert_eq!(part.name(), "p");
    }

    #[test]
    fn the_first_annotation_of_a_key_stays() {
        let annotations = Annotations::default();
        for (key, value) in [("b", "1"), ("a", "2"), ("b", "3")] {
            annotations.add(key, value);
        }
        assert_eq!(annotations.all(), [("b".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())]);
    }
}
