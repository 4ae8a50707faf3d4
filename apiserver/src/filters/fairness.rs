//! Limits of the requests in flight. Two pools, as kube-apiserver's `--max-requests-inflight` and
//! `--max-mutating-requests-inflight`: a flood of reads leaves writes their places. What finds no place waits a moment
//! and is then sent away (429, Retry-After). Watches and streams hold no place: their number is bounded by connections.
//! Flow schemas and priority levels are a later issue; this is where they go.
//!
//! Nobody fills a pool alone: one user has half of it at most, so that bodies which never end hold up nobody else. And an
//! answer that its client does not read keeps its place for half of the time that others wait; then one of them has it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use machinery::status::StatusError;
use model::request_info::RequestInfo;
use model::user::{MASTERS, UserInfo};
use negotiation::Body;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::following::follow;

/// A request waits for a place for this part of the time it has, as upstream's.
const PATIENCE_PART: u32 = 4;
/// How often one that waits looks for answers that nobody reads, in its time.
const LOOKS: u32 = 16;

/// The pools.
pub struct Fairness {
    reading: Arc<Pool>,
    mutating: Arc<Pool>,
}

impl Fairness {
    /// Pools of these sizes, for requests that have that time.
    pub fn new(reading: usize, mutating: usize, limit: Duration) -> Self {
        let pool = |size: usize| {
            let share = size.div_ceil(2);
            let places = Arc::new(Semaphore::new(size));
            let patience = limit / PATIENCE_PART;
            Arc::new(Pool { places, share, users: Mutex::default(), answers: Mutex::default(), patience })
        };
        Self { reading: pool(reading), mutating: pool(mutating) }
    }
}

struct Pool {
    places: Arc<Semaphore>,
    /// The most that one user has.
    share: usize,
    /// Of those who have or wait for places.
    users: Mutex<HashMap<String, Arc<Semaphore>>>,
    answers: Mutex<Answers>,
    /// How long a request waits.
    patience: Duration,
}

/// Answers under way, oldest first.
#[derive(Default)]
struct Answers {
    next: u64,
    places: BTreeMap<u64, (Instant, Place)>,
}

struct Place {
    _of_pool: OwnedSemaphorePermit,
    _of_user: OwnedSemaphorePermit,
}

impl Pool {
    async fn enter(self: &Arc<Self>, user: &str) -> Option<Place> {
        let share = {
            let mut users = self.users.lock();
            if users.len() > self.share * 4 {
                users.retain(|_, share| Arc::strong_count(share) > 1);
            }
            users.entry(user.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(self.share))).clone()
        };
        if let Ok(_of_user) = share.clone().try_acquire_owned()
            && let Ok(_of_pool) = self.places.clone().try_acquire_owned()
        {
            return Some(Place { _of_pool, _of_user });
        }
        let place = async {
            let _of_user = share.acquire_owned().await.ok()?;
            let _of_pool = self.places.clone().acquire_owned().await.ok()?;
            Some(Place { _of_pool, _of_user })
        };
        let (mut place, until) = (std::pin::pin!(place), Instant::now() + self.patience);
        while Instant::now() < until {
            self.take_back();
            if let Ok(place) = tokio::time::timeout(self.patience / LOOKS, place.as_mut()).await {
                return place;
            }
        }
        None
    }

    /// Ends the places of answers that were not read in time.
    fn take_back(&self) {
        let (now, mut taken) = (Instant::now(), Vec::new());
        let mut answers = self.answers.lock();
        while let Some(oldest) = answers.places.first_entry()
            && oldest.get().0 <= now
        {
            taken.push(oldest.remove());
        }
    }
}

/// A place, held until the response is sent.
pub struct Seat(Option<(Arc<Pool>, Place)>);

/// Waits for a place.
pub async fn enter(fairness: &Fairness, info: &RequestInfo, user: &UserInfo) -> Result<Seat, StatusError> {
    let exempt = info.long_running() || user.in_group(MASTERS) || !info.is_resource && info.path.ends_with("z");
    if exempt {
        return Ok(Seat(None));
    }
    let pool = if matches!(info.verb, "get" | "list" | "head") { &fairness.reading } else { &fairness.mutating };
    match pool.enter(&user.name).await {
        Some(place) => Ok(Seat(Some((pool.clone(), place)))),
        None => Err(StatusError::too_many_requests(
            "The server is currently unable to handle the request: too many requests, please try again later.",
            1,
        )),
    }
}

/// An answer under way.
struct Sending {
    pool: Arc<Pool>,
    id: u64,
}

impl Drop for Sending {
    fn drop(&mut self) {
        let place = self.pool.answers.lock().places.remove(&self.id);
        drop(place);
    }
}

impl Seat {
    /// Gives the place back when the body has been sent, or was not read in time.
    pub fn keep_while_sending(self, response: Response<Body>) -> Response<Body> {
        let Some((pool, place)) = self.0 else { return response };
        let id = {
            let mut answers = pool.answers.lock();
            answers.next += 1;
            let id = answers.next;
            answers.places.insert(id, (Instant::now() + pool.patience / 2, place));
            id
        };
        let sending = Sending { pool, id };
        response.map(|body| follow(body, sending, |_, _| {}))
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use http_body_util::BodyExt;

    use super::*;

    fn user(name: &str) -> UserInfo {
        UserInfo { name: name.to_owned(), ..UserInfo::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn one_user_leaves_places_to_others() {
        let fairness = Fairness::new(4, 4, Duration::from_secs(60));
        let info = RequestInfo::parse(&Method::POST, "/api/v1/namespaces/a/pods", "");
        let greedy = [enter(&fairness, &info, &user("a")).await, enter(&fairness, &info, &user("a")).await];
        assert!(greedy.iter().all(Result::is_ok));
        let began = Instant::now();
        let error = enter(&fairness, &info, &user("a")).await.err().expect("a has its half");
        assert_eq!((error.code, began.elapsed().as_secs()), (429, 15));
        let began = Instant::now();
        let others = [enter(&fairness, &info, &user("b")).await, enter(&fairness, &info, &user("c")).await];
        assert!(others.iter().all(Result::is_ok));
        assert_eq!(began.elapsed(), Duration::ZERO);
        drop(greedy);
        assert!(enter(&fairness, &info, &user("a")).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_reads_gives_up_its_place() {
        let fairness = Fairness::new(1, 1, Duration::from_secs(80));
        let info = RequestInfo::parse(&Method::GET, "/api/v1/pods", "");
        let seat = enter(&fairness, &info, &user("a")).await.expect("the first");
        let answer =
            seat.keep_while_sending(Response::new(http_body_util::Empty::new().map_err(|e| match e {}).boxed_unsync()));
        let began = Instant::now();
        assert!(enter(&fairness, &info, &user("b")).await.is_ok());
        assert_eq!(began.elapsed().as_secs(), 10);
        drop(answer);
        assert!(enter(&fairness, &info, &user("a")).await.is_ok());
    }
}
