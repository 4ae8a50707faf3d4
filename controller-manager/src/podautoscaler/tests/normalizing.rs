//! Stabilising, limits and policies.

use k8s_openapi::api::autoscaling::v2::HPAScalingPolicy;

use super::*;
use crate::podautoscaler::{
    memory::{Memory, Step, changed},
    normalize::{self, Rules, Wish},
};

/// Columns: policies are `value/period` in pods, or `value%/period`; steps `sizes@period`, spread over the period.
const TABLE: &str = include_str!("rules.txt");

fn rules(window_secs: i32, select: &str, policies: &[&str]) -> Rules {
    let policy = |text: &&str| {
        let (value, period) = text.split_once('/').unwrap();
        let type_ = if value.ends_with('%') { "Percent" } else { "Pods" };
        HPAScalingPolicy {
            type_: type_.into(),
            value: value.trim_end_matches('%').parse().unwrap(),
            period_seconds: period.parse().unwrap(),
        }
    };
    Rules { window_secs, select: select.into(), policies: policies.iter().map(policy).collect() }
}

/// Steps in the middle of equal parts of a period.
fn steps(text: Option<&&str>) -> Vec<Step> {
    let Some((sizes, period)) = text.and_then(|text| text.split_once('@')) else { return Vec::new() };
    let sizes: Vec<i32> = sizes.split(',').map(|size| size.parse().unwrap()).collect();
    let period: f64 = period.parse().unwrap();
    let part = period / sizes.len() as f64;
    let age = |at: usize| (period - part * (at + 1) as f64 + part / 2.0) as i64;
    let step = |(at, change): (usize, &i32)| Step { change: *change, at: secs_ago(age(at)), outdated: false };
    sizes.iter().enumerate().map(step).collect()
}

#[test]
fn policies_limit_as_upstream() {
    let rows = Row::all(TABLE);
    assert_eq!(rows.len(), 42);
    for row in rows {
        let of = |key: &str, default: &[&str]| match row.given.get(key) {
            Some(_) => rules(0, "Max", &row.list(key)),
            None => rules(0, "Max", default),
        };
        let (up, down) = (of("up", &["4/15", "100%/15"]), of("down", &["100%/15"]));
        let memory =
            Memory { ups: steps(row.given.get("ups")), downs: steps(row.given.get("downs")), ..Memory::default() };
        let wish = Wish {
            min: row.number("min"),
            max: row.number("max"),
            current: row.number("current"),
            desired: row.number("desired"),
        };
        let (size, (reason, _)) = normalize::limited(wish, &up, &down, &memory, now());
        assert_eq!(format!("{size} {reason}"), row.want, "{}", row.text);
    }
    let both = ["2/60", "50%/60"];
    assert_eq!(normalize::up_limit(1, &[], &[], &rules(300, "Min", &both), now()), 2);
    assert_eq!(normalize::down_limit(5, &[], &[], &rules(300, "Min", &both), now()), 3);
    for size in [1, 100] {
        assert_eq!(normalize::up_limit(size, &[], &[], &rules(0, "Disabled", &both), now()), size);
        assert_eq!(normalize::down_limit(size, &[], &[], &rules(0, "Disabled", &both), now()), size);
    }
}

#[test]
fn without_policies_the_size_doubles_at_most() {
    for (current, desired, min, max, want) in [
        (5, 7, 3, 8, (7, "DesiredWithinRange")),
        (3, 1, 2, 8, (2, "TooFewReplicas")),
        (1, 0, 0, 10, (0, "DesiredWithinRange")),
        (20, 1000, 1, 10, (10, "TooManyReplicas")),
        (3, 1000, 1, 2000, (6, "ScaleUpLimit")),
        (1, 1000, 1, 2000, (4, "ScaleUpLimit")),
    ] {
        let (size, (reason, _)) = normalize::within(Wish { min, max, current, desired });
        assert_eq!((size, reason), want, "from {current} to {desired} of {min} to {max}");
    }
}

fn remembered(recommendations: &[(i32, i64)]) -> Memory {
    let recommendations = recommendations.iter().map(|(size, secs)| (*size, secs_ago(*secs))).collect();
    Memory { recommendations, ..Memory::default() }
}

#[test]
fn the_largest_recommendation_of_the_window_is_kept() {
    type Case = (&'static str, &'static [(i32, i64)], i32, i32, usize);
    let cases: [Case; 5] = [
        ("nothing yet", &[], 5, 5, 1),
        ("stabilised", &[(4, 120), (5, 60)], 3, 5, 3),
        ("not stabilised", &[(1, 120), (2, 60)], 3, 3, 3),
        ("old ones", &[(10, 600), (9, 540)], 3, 3, 2),
        ("old and new ones", &[(10, 600), (4, 60), (5, 120), (9, 540)], 3, 5, 4),
    ];
    for (what, before, desired, want, length) in cases {
        let mut memory = remembered(before);
        let wish = Wish { min: 0, max: 1000, current: 1000, desired };
        let got = normalize::plain(wish, 300, &mut memory, now());
        assert_eq!((got.desired, memory.recommendations.len()), (want, length), "{what}");
        let able = if want == desired { "ReadyForNewScale" } else { "ScaleDownStabilized" };
        assert_eq!(got.able.0, able, "{what}");
    }
}

#[test]
fn both_directions_are_stabilised_as_upstream() {
    type Case = (&'static str, &'static [(i32, i64)], (i32, i32), (i32, i32), i32, &'static [i32]);
    // From and to, windows of scaling up and down, the size, what is remembered.
    let cases: [Case; 11] = [
        ("nothing yet", &[], (100, 5), (0, 0), 5, &[5]),
        ("down", &[(4, 120), (5, 60)], (100, 3), (0, 180), 5, &[4, 5, 3]),
        ("up", &[(4, 120), (5, 60)], (1, 7), (300, 0), 4, &[4, 5, 7]),
        ("down, without a window", &[(1, 120), (2, 60)], (100, 3), (300, 0), 3, &[1, 2, 3]),
        ("up, without a window", &[(4, 120), (5, 60)], (1, 3), (0, 300), 3, &[4, 5, 3]),
        ("down, in the place of an old one", &[(10, 600), (9, 540)], (100, 3), (0, 0), 3, &[10, 3]),
        ("up, in the place of an old one", &[(10, 600), (9, 540)], (1, 100), (0, 0), 100, &[10, 100]),
        ("down, one is old", &[(10, 600), (4, 60), (5, 120), (9, 540)], (100, 3), (0, 180), 5, &[10, 4, 5, 3]),
        ("up, one is old", &[(10, 6000), (6, 60), (5, 120), (9, 180)], (1, 100), (300, 0), 5, &[100, 6, 5, 9]),
        ("not up when less is asked for", &[(2, 6000), (3, 180)], (2, 1), (300, 300), 2, &[1, 3]),
        ("not down when more is asked for", &[(2, 6000), (1, 180)], (2, 3), (300, 300), 2, &[3, 1]),
    ];
    for (what, before, (current, desired), (up, down), want, after) in cases {
        let mut memory = remembered(before);
        let wish = Wish { min: 0, max: 1000, current, desired };
        let (up, down) = (rules(up, "Max", &[]), rules(down, "Max", &[]));
        let (size, (reason, _)) = normalize::stabilized_both(wish, &up, &down, &mut memory, now());
        let sizes: Vec<i32> = memory.recommendations.iter().map(|(size, _)| *size).collect();
        assert_eq!((size, sizes.as_slice()), (want, after), "{what}");
        assert_eq!(reason, if desired >= current { "ScaleUpStabilized" } else { "ScaleDownStabilized" }, "{what}");
    }
}

#[test]
fn steps_are_kept_as_long_as_a_policy_looks_back() {
    type Case = (&'static str, &'static [(i32, i64)], i32, i32, &'static [(i32, bool)]);
    // Sizes and ages, the longest period, what changed within a minute, what is kept.
    let cases: [Case; 6] = [
        ("nothing yet", &[], 60, 0, &[(5, false)]),
        ("an old one is replaced", &[(7, 61)], 60, 0, &[(5, false)]),
        ("a new one stays", &[(7, 58)], 60, 7, &[(7, false), (5, false)]),
        ("one of two", &[(7, 61), (6, 59)], 60, 6, &[(5, false), (6, false)]),
        (
            "the last of the old ones",
            &[(8, 29), (6, 59), (7, 61), (9, 61)],
            60,
            14,
            &[(8, false), (6, false), (7, true), (5, false)],
        ),
        ("both new", &[(7, 58), (6, 59)], 120, 13, &[(7, false), (6, false), (5, false)]),
    ];
    for (what, before, longest, within, after) in cases {
        let steps =
            || before.iter().map(|(change, secs)| Step { change: *change, at: secs_ago(*secs), outdated: false });
        let mut memory = Memory { ups: steps().collect(), downs: steps().collect(), ..Memory::default() };
        assert_eq!(changed(&memory.ups, 60, now()), within, "{what}");
        memory.scaled(10, 15, longest, now());
        memory.scaled(10, 5, longest, now());
        for kept in [&memory.ups, &memory.downs] {
            let kept: Vec<(i32, bool)> = kept.iter().map(|step| (step.change, step.outdated)).collect();
            assert_eq!(kept, after, "{what}");
        }
    }
}
