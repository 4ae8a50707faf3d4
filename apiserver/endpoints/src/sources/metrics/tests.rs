//! Reading a kubelet's text, and what is made of measurements.

use super::points::{Pair, Point, Points, Usage};
use super::text::{self, Batch};

fn point(at_ms: i64, cpu_ns: u64) -> Point {
    Point { started_ms: 0, at_ms, cpu_ns, memory_bytes: 1 }
}

fn batch(node: Option<Point>, containers: &[(&str, Point)]) -> Batch {
    let of_pod = containers.iter().map(|(name, point)| ((*name).into(), *point)).collect();
    Batch { node, pods: [(("n".into(), "p".into()), of_pod)].into() }
}

#[test]
fn a_kubelets_text_is_read() {
    let labels = |container: &str, pod: &str| format!("container=\"{container}\",namespace=\"n\",pod=\"{pod}\"");
    let (a, b) = (labels("a", "p"), "pod=\"p\",container=\"b\",namespace=\"n\"");
    let (c, d) = (labels("c", "zero"), labels("d", "part"));
    let text = format!(
        "# HELP node_cpu_usage_seconds_total Something\n# TYPE node_cpu_usage_seconds_total counter\n\
         node_cpu_usage_seconds_total 357.35491 1550000000000\n\
         node_memory_working_set_bytes 1.616273408e+09 1550000000000\n\
         container_cpu_usage_seconds_total{{{a}}} 4.710169 1550000000001\n\
         container_memory_working_set_bytes{{{a}}} 1.2431e+07 1550000000001\n\
         container_start_time_seconds{{{a}}} 1.633253809725e+09\n\
         container_cpu_usage_seconds_total{{{b}}} 1\n\
         container_memory_working_set_bytes{{{b}}} 5\n\
         container_cpu_usage_seconds_total{{{c}}} 0 1550000000000\n\
         container_memory_working_set_bytes{{{c}}} 5 1550000000000\n\
         container_memory_working_set_bytes{{{d}}} 5 1550000000000\n\
         container_swap_usage_bytes{{{a}}} 9 1550000000000\n\
         node_cpu_usage_seconds_total_of_something 7\nnonsense\n\n",
    );
    let node = Point { started_ms: 0, at_ms: 1_550_000_000_000, cpu_ns: 357_354_910_000, memory_bytes: 1_616_273_408 };
    let of_a = Point {
        started_ms: 1_633_253_809_725,
        at_ms: 1_550_000_000_001,
        cpu_ns: 4_710_169_000,
        memory_bytes: 12_431_000,
    };
    // Without a time it is now; of a pod with a figure missing nothing is known.
    let of_b = Point { started_ms: 0, at_ms: 99, cpu_ns: 1_000_000_000, memory_bytes: 5 };
    assert_eq!(text::parse(&text, 99), batch(Some(node), &[("a", of_a), ("b", of_b)]));
    assert_eq!(text::parse("node_memory_working_set_bytes 1 5\n", 99), Batch::default());
}

#[test]
fn usage_is_the_difference_of_two_measurements() {
    let pair = |before: Option<Point>, last| Pair { before, last };
    let usage = |cpu_ns, at_ms, window_ms| Some(Usage { cpu_ns, memory_bytes: 1, at_ms, window_ms });
    assert_eq!(pair(Some(point(1_000, 0)), point(16_000, 3_000_000_000)).usage(), usage(200_000_000, 16_000, 15_000));
    assert_eq!(pair(None, point(16_000, 3)).usage(), None);
    assert_eq!(pair(Some(point(1_000, 4)), point(16_000, 3)).usage(), None, "it fell");
    assert_eq!(pair(Some(point(16_000, 3)), point(16_000, 3)).usage(), None, "no time has passed");
    let older = Point { started_ms: -5, ..point(16_000, 3) };
    assert_eq!(pair(Some(point(1_000, 1)), older).usage(), None, "it began before itself");
}

#[test]
fn measurements_follow_each_other() {
    let key = ("n".into(), "p".into());
    let mut points = Points::default();
    let window = |points: &Points| {
        let of_pod = points.pod(&key).map(|used| used.iter().map(|(_, u)| u.window_ms).collect::<Vec<_>>());
        (points.node("node").map(|used| used.window_ms), of_pod)
    };
    let old = |at_ms, cpu_ns| Point { started_ms: 1, ..point(at_ms, cpu_ns) };
    points.store("node", batch(Some(point(100_000, 1)), &[("a", old(100_000, 1))]));
    assert_eq!(window(&points), (None, None), "one is not enough");
    points.store("node", batch(Some(point(115_000, 2)), &[("a", old(115_000, 2))]));
    assert_eq!(window(&points), (Some(15_000), Some(vec![15_000])));
    points.store("node", batch(Some(point(115_000, 2)), &[("a", old(115_000, 2))]));
    assert_eq!(window(&points), (Some(15_000), Some(vec![15_000])), "the same one again");
    // A container that began a little ago is measured from its beginning, a very young one not at all.
    let young = |age_ms: i64| Point { started_ms: 130_000 - age_ms, ..point(130_000, 5) };
    for (age_ms, of_pod) in [(9_999, None), (10_000, Some(vec![10_000])), (14_999, Some(vec![14_999])), (15_000, None)]
    {
        let mut points = Points::default();
        points.store("node", batch(None, &[("a", old(115_000, 2))]));
        points.store("node", batch(None, &[("a", young(age_ms))]));
        assert_eq!(window(&points).1, of_pod, "{age_ms} ms old");
    }
    // One of two was not measured twice.
    points.store("node", batch(None, &[("a", old(130_000, 3)), ("b", old(130_000, 3))]));
    assert_eq!(window(&points), (None, None));
    points.store("node", batch(None, &[("a", old(145_000, 3)), ("b", old(145_000, 3))]));
    assert_eq!(window(&points).1, Some(vec![15_000, 15_000]));
    // What is not told any more is forgotten, and so is a node that does not answer.
    points.store("node", Batch::default());
    assert_eq!(window(&points), (None, None));
    points.store("node", batch(Some(point(1, 1)), &[]));
    points.store("node", batch(Some(point(2, 1)), &[]));
    assert_eq!(window(&points).0, Some(1));
    points.retain(|node| node != "node");
    points.store("node", batch(Some(point(3, 1)), &[]));
    assert_eq!(window(&points).0, None);
}
