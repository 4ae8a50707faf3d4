//! Speeds, and the kernel's table of interfaces.

use super::*;

#[test]
fn a_speed_is_of_two_measurements_that_are_some_seconds_apart() {
    let second = |s: i64| s * 1_000_000_000;
    let mut rates = Rates::default();
    let steps = [
        // At, in all, the speed.
        (0, 0, None),
        (0, 0, None),
        (1, 250_000_000, Some(250_000_000)),
        // Too soon: the last one stands, and the measurement is not taken.
        (2, 2_000_000_000, Some(250_000_000)),
        (6, 10_250_000_000, Some(2_000_000_000)),
        (6, 10_250_000_000, Some(2_000_000_000)),
        // Started anew.
        (12, 5, None),
        (13, 500_000_005, Some(500_000_000)),
    ];
    for (at, total, want) in steps {
        assert_eq!(rates.observe("c", second(at), total), want, "at {at} s");
    }
    assert_eq!(rates.observe("d", second(13), 1), None);
    rates.forget(second(613));
    assert_eq!(rates.observe("c", second(614), 1_500_000_005), None, "it was forgotten");
}

#[test]
fn interfaces_of_containers_and_the_loop_are_not_counted() {
    let text = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 99 1 0 0 0 0 0 0 99 1 0 0 0 0 0 0
  eth0: 1000 10 1 0 0 0 0 0 2000 20 2 0 0 0 0 0
  wlan: 5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0
veth12: 7 1 0 0 0 0 0 0 8 1 0 0 0 0 0 0
";
    let network = network::parse(text, Time(0));
    let names: Vec<&str> = network.interfaces.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["eth0", "wlan"]);
    let told = serde_json::to_value(&network).expect("JSON");
    let want = ["time", "name", "rxBytes", "rxErrors", "txBytes", "txErrors"].map(|f| told[f].clone());
    assert_eq!(serde_json::json!(want), serde_json::json!(["1970-01-01T00:00:00Z", "eth0", 1000, 1, 2000, 2]));
}
