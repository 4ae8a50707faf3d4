//! Who gets which address, by table.

use std::fmt::Write;

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::*;
use crate::claim::{SHARED, WISHED};

/// Services that are made one after another: `s1` is the most senior.
fn service(number: usize, mut spec: Value, annotations: Value, status: &[&str]) -> Service {
    spec["type"] = "LoadBalancer".into();
    for (field, value) in [("ports", json!([{"port": 80}])), ("ipFamilies", json!(["IPv4"]))] {
        if spec[field].is_null() {
            spec[field] = value;
        }
    }
    let ingress: Vec<Value> = status.iter().map(|ip| json!({"ip": ip})).collect();
    let created = format!("2026-01-01T00:00:{number:02}Z");
    serde_json::from_value(json!({
        "metadata": {"name": format!("s{number}"), "namespace": "d", "uid": number.to_string(),
            "creationTimestamp": created, "annotations": annotations},
        "spec": spec, "status": {"loadBalancer": {"ingress": ingress}},
    }))
    .unwrap()
}

/// Gives all of them their addresses, from the last to the first, and tells what each has or why not.
#[track_caller]
fn check(pool: &str, services: &[Service], expect: &str) {
    let pool = Pool::parse(&[pool.to_owned()].concat().split(',').map(str::to_owned).collect::<Vec<_>>()).unwrap();
    let (mut book, now) = (Book::default(), Instant::now());
    book.set_nodes(["192.0.2.1".parse().unwrap()].into());
    let uid = |service: &Service| service.metadata.uid.clone().unwrap();
    for service in services {
        book.observe(&uid(service), Claim::of(service), 1, true, now);
    }
    let mut told = vec![];
    for service in services.iter().rev() {
        let got = book.give(&uid(service), &pool, now);
        let mut line = String::new();
        match got {
            Ok(addresses) => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                write!(line, "s{}: {}", uid(service), addresses.join(" ")).unwrap();
            }
            Err(why) => write!(line, "s{}: {}", uid(service), why.message(Some(&pool))).unwrap(),
        }
        told.insert(0, line);
    }
    assert_eq!(told.join("\n"), expect);
}

fn plain(number: usize, status: &[&str]) -> Service {
    service(number, json!({}), json!({}), status)
}

fn wish(number: usize, ip: &str, status: &[&str]) -> Service {
    service(number, json!({"loadBalancerIP": ip}), json!({}), status)
}

fn sharing(number: usize, key: &str, port: u16, policy: &str, status: &[&str]) -> Service {
    let spec = json!({"ports": [{"port": port}], "externalTrafficPolicy": policy, "selector": {"app": policy}});
    service(number, spec, json!({SHARED: key}), status)
}

#[test]
fn a_status_is_kept_whoever_is_looked_at_first() {
    let pool = "192.0.2.9-192.0.2.11";
    check(pool, &[plain(1, &[]), plain(2, &["192.0.2.9"])], "s1: 192.0.2.10\ns2: 192.0.2.9");
    check(pool, &[plain(1, &["192.0.2.11"]), plain(2, &[])], "s1: 192.0.2.11\ns2: 192.0.2.9");
    // Of another pool; and of one that has shrunk.
    check(pool, &[plain(1, &["198.51.100.1"])], "s1: 192.0.2.9");
    // The last one is waited for by two, and its owner is not deprived of it.
    let full = "s1: no IPv4 address is left in the pool 192.0.2.9\ns2: 192.0.2.9\ns3: no IPv4 address is left in the pool \
                192.0.2.9";
    check("192.0.2.9", &[plain(1, &[]), plain(2, &["192.0.2.9"]), plain(3, &[])], full);
}

#[test]
fn of_two_that_have_one_address_the_senior_keeps_it() {
    let both = [plain(1, &["192.0.2.9"]), plain(2, &["192.0.2.9"])];
    check("192.0.2.9-192.0.2.10", &both, "s1: 192.0.2.9\ns2: 192.0.2.10");
    let (mut book, now) = (Book::default(), Instant::now());
    for service in &both {
        book.observe(service.metadata.uid.as_ref().unwrap(), Claim::of(service), 1, true, now);
    }
    assert_eq!((book.rivals("1", now), book.rivals("2", now)), (vec!["2".to_owned()], vec!["1".to_owned()]));
}

#[test]
fn wishes_are_granted_or_refused_in_words() {
    let pool = "192.0.2.9-192.0.2.10,2001:db8::/120";
    let words = |wish: &str| format!("s1: the wished address {wish}");
    check(pool, &[wish(1, "192.0.2.10", &["192.0.2.9"])], "s1: 192.0.2.10");
    check(pool, &[wish(1, "192.0.2.12", &[])], &(words("192.0.2.12") + &format!(" is not in the pool {pool}")));
    check(pool, &[wish(1, "2001:db8::1", &[])], &words("2001:db8::1 is of no family of the Service"));
    check(pool, &[wish(1, "web", &[])], &words("\"web\" is none"));
    let taken = words("192.0.2.9 is taken by d/s2") + "\ns2: 192.0.2.9";
    check(pool, &[wish(1, "192.0.2.9", &[]), plain(2, &["192.0.2.9"])], &taken);
    let both = json!({"ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": "RequireDualStack"});
    let wishes = json!({WISHED: "192.0.2.10, 2001:db8::7"});
    check(pool, &[service(1, both, wishes, &[])], "s1: 2001:db8::7 192.0.2.10");
    check("192.0.2.1-192.0.2.2", &[wish(1, "192.0.2.1", &[])], &words("192.0.2.1 is taken by a node"));
}

#[test]
fn families_are_those_of_the_service() {
    let dual = |policy: &str| json!({"ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": policy});
    let of = |spec: Value| [service(1, spec, json!({}), &[])];
    let pool = "192.0.2.9,2001:db8::/120";
    check(pool, &of(json!({"ipFamilies": ["IPv6"]})), "s1: 2001:db8::1");
    check(pool, &of(dual("RequireDualStack")), "s1: 2001:db8::1 192.0.2.9");
    check("192.0.2.9", &of(dual("PreferDualStack")), "s1: 192.0.2.9");
    check("192.0.2.9", &of(dual("RequireDualStack")), "s1: no IPv6 address is left in the pool 192.0.2.9");
    let none = "s1: no IPv6 address is left in the pool 192.0.2.9";
    check("192.0.2.9", &of(json!({"ipFamilies": ["IPv6"]})), none);
}

#[test]
fn nobody_gets_what_nodes_or_users_have() {
    let pool = "192.0.2.1-192.0.2.4";
    let routed = service(2, json!({"externalIPs": ["192.0.2.2"]}), json!({}), &[]);
    check(pool, &[plain(1, &[]), routed], "s1: 192.0.2.3\ns2: 192.0.2.2");
}

#[test]
fn an_address_is_shared_by_those_who_say_so_and_do_not_clash() {
    let pool = "192.0.2.9-192.0.2.10";
    let check = |a: Service, b: Service, together: bool| {
        let expect = if together { "s1: 192.0.2.9\ns2: 192.0.2.9" } else { "s1: 192.0.2.10\ns2: 192.0.2.9" };
        check(pool, &[a, b], expect);
    };
    let there = ["192.0.2.9"];
    check(sharing(1, "k", 53, "Cluster", &[]), sharing(2, "k", 80, "Cluster", &there), true);
    check(sharing(1, "k", 80, "Cluster", &[]), sharing(2, "k", 80, "Cluster", &there), false);
    check(sharing(1, "k", 53, "Cluster", &[]), sharing(2, "l", 80, "Cluster", &there), false);
    check(plain(1, &[]), sharing(2, "k", 81, "Cluster", &there), false);
    check(sharing(1, "k", 53, "Local", &[]), sharing(2, "k", 80, "Local", &there), true);
    check(sharing(1, "k", 53, "Local", &[]), sharing(2, "k", 80, "Cluster", &there), false);
}

#[test]
fn what_was_given_counts_before_its_status_is_seen_and_only_for_a_while() {
    let pool = Pool::parse(&["192.0.2.9".to_owned()]).unwrap();
    let (mut book, now) = (Book::default(), Instant::now());
    for number in 1..=2 {
        book.observe(&number.to_string(), Claim::of(&plain(number, &[])), 5, true, now);
    }
    assert_eq!(book.give("1", &pool, now).unwrap(), pool.addresses(Family::V4).collect::<Vec<_>>());
    assert!(book.give("2", &pool, now).is_err());
    // An event of before comes late.
    book.observe("1", Claim::of(&plain(1, &[])), 4, true, now);
    assert!(book.give("2", &pool, now).is_err());
    // Nobody ever wrote it.
    assert!(book.give("2", &pool, now + UNSEEN).is_ok());
    book.release("2", now + UNSEEN);
    assert!(book.give("1", &pool, now + UNSEEN).is_ok());
    book.forget("1");
    assert!(book.give("2", &pool, now + UNSEEN).is_ok());
}

#[test]
fn what_somebody_writes_into_a_status_takes_nothing_and_nobody_loses_by_it() {
    let pool = Pool::parse(&["192.0.2.8-192.0.2.9".to_owned()]).unwrap();
    let (mut book, now) = (Book::default(), Instant::now());
    book.observe("1", Claim::of(&plain(1, &["192.0.2.8"])), 1, true, now);
    book.observe("2", Claim::of(&plain(2, &["192.0.2.9"])), 1, true, now);
    assert!(book.observe("1", Claim::of(&plain(1, &["192.0.2.9"])), 2, true, now));
    assert_eq!(book.give("2", &pool, now).map(|ips| ips[0].to_string()), Ok("192.0.2.9".to_owned()));
    assert_eq!(book.give("1", &pool, now).map(|ips| ips[0].to_string()), Ok("192.0.2.8".to_owned()));
    assert!(!book.observe("1", Claim::of(&plain(1, &["192.0.2.8"])), 3, true, now), "that is ours");
    assert!(book.observe("1", Claim::of(&plain(1, &[])), 4, true, now));
    assert_eq!(book.has("1", now), ["192.0.2.8".parse::<IpAddr>().unwrap()]);
}

#[test]
fn with_the_nodes_addresses_each_port_is_one_services() {
    let nodes = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap());
    let port = |number: usize, port: u16, status: &[&str]| {
        service(number, json!({"ports": [{"port": port}]}), json!({}), status)
    };
    let (mut book, now) = (Book::default(), Instant::now());
    let reserved = [("TCP".to_owned(), 10250)].into();
    for service in [port(1, 80, &[]), port(2, 80, &["192.0.2.1"]), port(3, 81, &[]), port(4, 10250, &[])] {
        book.observe(service.metadata.uid.as_ref().unwrap(), Claim::of(&service), 1, true, now);
    }
    let mut give = |uid: &str| book.give_nodes(uid, &nodes, &reserved, now).map_err(|why| why.message(None));
    assert_eq!(give("3"), Ok(vec![nodes[0]]));
    assert_eq!(give("1"), Err("the port 80/TCP of the nodes' addresses is taken by d/s2".to_owned()));
    assert_eq!(give("2"), Ok(vec![nodes[0]]));
    assert_eq!(give("4"), Err("the port 10250/TCP of the nodes' addresses is taken by the node itself".to_owned()));
}
