//! Keys come once, at their time, and to one worker.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_key_is_queued_once_and_never_worked_on_twice_at_once() {
    let q = Queue::new();
    q.add("a");
    q.add("a");
    q.add("b");
    assert_eq!(q.len(), 2);
    assert_eq!(q.get().await, Some("a"));
    q.add("a");
    assert_eq!(q.get().await, Some("b"));
    assert!(q.is_empty(), "a is being worked on");
    q.done(&"a");
    assert_eq!(q.get().await, Some("a"));
}

#[tokio::test(start_paused = true)]
async fn a_delayed_key_comes_at_the_earliest_time_asked_for() {
    let (q, start) = (Queue::new(), Instant::now());
    q.add_after("a", Duration::from_secs(9));
    q.add_after("a", Duration::from_secs(3));
    q.add_after("a", Duration::from_secs(5));
    assert_eq!(q.get().await, Some("a"));
    assert_eq!(start.elapsed().as_secs(), 3);
    q.done(&"a");
    assert!(tokio::time::timeout(Duration::from_secs(60), q.get()).await.is_err(), "once only");
}

#[tokio::test(start_paused = true)]
async fn an_earlier_delay_wakes_a_sleeping_worker() {
    let (q, start) = (Queue::new(), Instant::now());
    q.add_after("late", Duration::from_secs(60));
    let worker = tokio::spawn({
        let q = q.clone();
        async move { q.get().await }
    });
    tokio::time::advance(Duration::from_secs(1)).await;
    q.add_after("soon", Duration::from_secs(1));
    assert_eq!(worker.await.unwrap(), Some("soon"));
    assert_eq!(start.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn retries_double_until_forgotten() {
    let q = Queue::new();
    for want_ms in [5, 10, 20, 40] {
        let start = Instant::now();
        q.add_rate_limited("a");
        q.get().await;
        q.done(&"a");
        assert_eq!(start.elapsed().as_millis(), want_ms);
    }
    assert_eq!(q.num_requeues(&"a"), 4);
    q.forget(&"a");
    assert_eq!(q.num_requeues(&"a"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_queue_can_have_its_own_waits() {
    let q = Queue::with_retries(Duration::from_secs(1), Duration::from_secs(3));
    for want in [1, 2, 3, 3] {
        let start = Instant::now();
        (0..150).for_each(|key| q.add_rate_limited(key));
        for _ in 0..150 {
            let key = q.get().await.unwrap();
            q.done(&key);
        }
        assert_eq!(start.elapsed().as_secs(), want);
    }
}

#[tokio::test(start_paused = true)]
async fn many_failing_keys_share_a_bucket() {
    let (q, start) = (Queue::new(), Instant::now());
    (0..150).for_each(|i| q.add_rate_limited(i));
    for _ in 0..150 {
        let key = q.get().await.unwrap();
        q.done(&key);
    }
    assert_eq!(start.elapsed().as_secs(), 5, "100 at once, 50 at 10 a second");
}

#[tokio::test]
async fn shutting_down_ends_waiting_workers() {
    let q = Queue::<u8>::new();
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let q = q.clone();
            tokio::spawn(async move { q.get().await })
        })
        .collect();
    tokio::task::yield_now().await;
    q.shut_down();
    for w in workers {
        assert_eq!(w.await.unwrap(), None);
    }
}
