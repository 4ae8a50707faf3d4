//! The loop's decisions: when the next update is due, and what becomes of one that panics.

use std::sync::atomic::{AtomicU32, Ordering};

use http::{Request, Response};
use kube::client::Body;
use serde_json::json;

use super::*;
use crate::backends::rules::Kernel;
use netfilter::{TimedAddresses, Transaction};

/// A kernel that takes everything.
struct Anything;

impl Kernel for Anything {
    fn apply(&self, _: &Transaction) -> Result<(), netfilter::Error> {
        Ok(())
    }

    fn timed_addresses(&self, _: &netfilter::tables::Table) -> std::io::Result<Option<TimedAddresses>> {
        Ok(None)
    }
}

/// A proxier for Services `a` and `b` of namespace `ns`, whose kernel takes everything.
async fn proxier(tasks: &Supervisor) -> Proxier {
    let answer = async |request: Request<Body>| {
        if request.uri().query().unwrap_or_default().contains("watch=true") {
            std::future::pending::<()>().await;
        }
        let service = |name: &str| {
            json!({"metadata": {"namespace": "ns", "name": name, "uid": name, "resourceVersion": "1"},
                "spec": {"clusterIP": "10.96.0.7", "ports": [{"port": 80}]}})
        };
        let services = request.uri().path().ends_with("/services");
        let items = if services { vec![service("a"), service("b")] } else { vec![] };
        let list = json!({"metadata": {"resourceVersion": "1"}, "items": items});
        Ok::<_, std::convert::Infallible>(Response::new(Body::from(list.to_string().into_bytes())))
    };
    let informers = Informers::new(kube::Client::new(tower::service_fn(answer), "default"), tasks);
    let (services, slices) = (informers.of::<Service>(), informers.of::<EndpointSlice>());
    tokio::join!(services.synced(), slices.synced());
    let (rules, config) = (Rules::of(Anything), Config::default());
    let health = Health::new();
    Proxier::new(config, rules, Tracker::new(services, &slices), Arc::default(), health, tasks)
}

fn key(name: &str) -> Key {
    ("ns".into(), name.into())
}

#[tokio::test]
async fn an_update_that_panics_is_made_again_whole() {
    let tasks = Supervisor::new();
    let mut proxier = proxier(&tasks).await;
    let start = Instant::now();
    assert!(proxier.update(async |proxier, dirty| proxier.sync(start, dirty).await).await);
    assert!(proxier.tables[0].is_known() && !proxier.tables[0].is_empty() && proxier.health.is_well());
    let before = proxier.tables[0].len();

    // One that is gone by then, and whose rules it was to remove.
    proxier.tracker.put_back([key("gone")]);
    assert!(!proxier.update(async |_, _| panic!("made to panic")).await);
    assert!(!proxier.tables[0].is_known() && proxier.tables[0].is_empty());
    let again = Mutex::new(HashSet::new());
    let sync = async |proxier: &mut Proxier, dirty: &HashSet<Key>| {
        again.lock().extend(dirty.iter().cloned());
        proxier.sync(start, dirty).await
    };
    assert!(proxier.update(sync).await);
    assert_eq!(*again.lock(), [key("a"), key("b"), key("gone")].into());
    assert!(proxier.tables[0].is_known());
    assert_eq!(proxier.tables[0].len(), before);
}

#[tokio::test]
async fn a_service_that_panics_keeps_no_other_from_its_rules() {
    let tasks = Supervisor::new();
    let mut proxier = proxier(&tasks).await;
    let calls = AtomicU32::new(0);
    let all = [key("a"), key("b")].into();
    let work = |_: &mut Proxier, of: &Key| {
        calls.fetch_add(1, Ordering::Relaxed);
        assert_ne!(*of, key("a"), "made to panic");
    };
    let before = Instant::now();
    proxier.each(&all, work);
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    let later: Vec<_> = proxier.broken.iter().map(|(key, at)| (key.clone(), *at >= before + CHECK_PERIOD)).collect();
    assert_eq!(later, [(key("a"), true)]);
    proxier.each(&all, |_, _| ());
    assert!(proxier.broken.is_empty());
}

#[test]
fn a_change_is_waited_for_but_cuts_no_patience_short() {
    let ms = Duration::from_millis;
    let mut pace = Pace::new(ms(30));
    let start = pace.due;
    let due = |pace: &Pace| pace.due - start;
    pace.updated(start, true, None, false);
    assert_eq!(due(&pace), CHECK_PERIOD);
    pace.changed(start + ms(10));
    assert_eq!(due(&pace), ms(30), "not closer than the least period");
    pace.updated(start + ms(30), true, Some(start + ms(5000)), false);
    pace.changed(start + ms(1000));
    pace.changed(start + ms(1001));
    assert_eq!(due(&pace), ms(1003), "the first of a burst waits for the others");
    pace.updated(start + ms(1003), true, None, true);
    assert_eq!(due(&pace), ms(1033), "what changed meanwhile");

    for (failures, pause) in [(1, 500), (2, 1000), (3, 2000)] {
        let failed = pace.due;
        pace.updated(failed, false, Some(failed), true);
        pace.changed(failed + ms(1));
        assert_eq!(pace.due - failed, ms(pause), "failure {failures}");
    }
    let well = pace.due;
    pace.updated(well, true, None, false);
    pace.changed(well + ms(100));
    assert_eq!(pace.due - well, ms(103));
}
