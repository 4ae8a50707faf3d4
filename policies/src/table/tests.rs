//! The order of changes: what packets on their way could meet.

use expect_test::{Expect, expect};
use netfilter::tables::{Datum, Set, Statement, Type, Verdict};

use super::*;

fn element(ip: &str) -> Element {
    Element::of([Datum::Address(ip.parse().unwrap())])
}

fn leads(ip: &str, chain: &str) -> Element {
    Element::verdict([Datum::Address(ip.parse().unwrap())], Verdict::Goto(chain.into()))
}

/// A table that the kernel has, empty but for the map.
fn known() -> (Table, Wanted) {
    let (mut table, mut wanted) = (Table::new(Version::V4), Wanted::default());
    wanted.add_set(Set::verdicts("map", [Type::Address(Version::V4)]));
    step(&mut table, &mut wanted, Instant::now());
    (table, wanted)
}

fn step(table: &mut Table, wanted: &mut Wanted, now: Instant) -> String {
    let transactions: Vec<String> =
        table.transactions(wanted, now).iter().map(|transaction| transaction.to_string()).collect();
    table.applied(wanted.content(), now);
    transactions.join("--\n").replace("ip ferry-policies ", "")
}

fn check(said: &str, expected: Expect) {
    expected.assert_eq(said);
}

fn drop_rule(set: &str) -> Rule {
    vec![Statement::In(vec![tables::Field::Source(Version::V4)], set.into(), true), Statement::Verdict(Verdict::Drop)]
}

#[test]
fn what_is_new_is_there_before_something_leads_to_it_and_stays_for_a_while_after() {
    let ((mut table, mut wanted), now) = (known(), Instant::now());
    wanted.add_set(Set::of("peers", [Type::Address(Version::V4)]));
    wanted.set_elements("peers", [element("10.0.0.1")]);
    wanted.set_chain("one", vec![drop_rule("peers")]);
    wanted.set_elements("map", [leads("10.0.0.9", "one")]);
    check(
        &step(&mut table, &mut wanted, now),
        expect![[r#"
            add set peers { type ipv4_addr ; }
            add element peers { 10.0.0.1 }
            add counter one
            add chain one
            add rule one ip saddr @peers drop
            --
            add element map { 10.0.0.9 : goto one }
        "#]],
    );
    // A pod more is an element.
    wanted.set_elements("peers", [element("10.0.0.1"), element("10.0.0.2")]);
    check(
        &step(&mut table, &mut wanted, now),
        expect![[r#"
            add element peers { 10.0.0.2 }
        "#]],
    );
    assert_eq!(step(&mut table, &mut wanted, now), "", "nothing changed");
    // The address goes to another chain; the first one and its set keep what they have, until nothing can be in them.
    wanted.set_chain("two", vec![drop_rule("map")]);
    wanted.set_elements("map", [leads("10.0.0.9", "two")]);
    wanted.remove_chain("one");
    wanted.remove_set("peers");
    check(
        &step(&mut table, &mut wanted, now),
        expect![[r#"
            add counter two
            add chain two
            add rule two ip saddr @map drop
            --
            delete element map { 10.0.0.9 }
            add element map { 10.0.0.9 : goto two }
        "#]],
    );
    assert_eq!(step(&mut table, &mut wanted, now), "");
    let due = table.next_cleanup().unwrap();
    check(
        &step(&mut table, &mut wanted, due),
        expect![[r#"
            flush chain one
            delete chain one
            delete counter one
            delete set peers
        "#]],
    );
    assert_eq!(table.next_cleanup(), None);
}

#[test]
fn what_comes_back_before_it_is_deleted_is_taken_as_it_is() {
    let ((mut table, mut wanted), now) = (known(), Instant::now());
    let make = |wanted: &mut Wanted, elements: &[&str], rules| {
        wanted.add_set(Set::of("peers", [Type::Address(Version::V4)]));
        wanted.set_elements("peers", elements.iter().map(|ip| element(ip)));
        wanted.set_chain("one", rules);
    };
    make(&mut wanted, &["10.0.0.1", "10.0.0.2"], vec![drop_rule("peers")]);
    step(&mut table, &mut wanted, now);
    wanted.remove_chain("one");
    wanted.remove_set("peers");
    assert_eq!(step(&mut table, &mut wanted, now), "");
    make(&mut wanted, &["10.0.0.2", "10.0.0.3"], vec![]);
    check(
        &step(&mut table, &mut wanted, now),
        expect![[r#"
            delete element peers { 10.0.0.1 }
            add element peers { 10.0.0.3 }
            flush chain one
        "#]],
    );
    assert_eq!((table.next_cleanup(), step(&mut table, &mut wanted, now + STALE_AFTER)), (None, String::new()));
}

#[test]
fn a_table_made_anew_is_whole_before_the_former_one_goes() {
    let (mut table, mut wanted) = known();
    wanted.set_chain("one", vec![vec![Statement::Verdict(Verdict::Drop)]]);
    wanted.set_elements("map", [leads("10.0.0.9", "one")]);
    table.resync();
    table.take_over(true);
    let transactions = table.transactions(&mut wanted, Instant::now());
    let [first, then] = transactions.as_slice() else { panic!("{transactions:?}") };
    let first = first.to_string();
    assert!(first.ends_with("add element ip ferry-policies-2 map { 10.0.0.9 : goto one }\n"), "{first}");
    assert!(first.contains("add rule ip ferry-policies-2 one drop\n"), "{first}");
    assert_eq!(then.to_string(), "add table ip ferry-policies\ndelete table ip ferry-policies\n");
}
