//! What the kernel makes of transactions, as `nft` lists it: the same as what `nft` makes of their text.

use std::{
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::{
    Change, Error, Log, Socket, Transaction,
    tables::{
        Data, Datum, Element, Field, Hook, Kind, Point, Rule, Set, Statement, Table, Transport, Type, Verdict, Version,
    },
};

/// A network namespace of the test's own.
struct Net(String);

impl Net {
    /// `None`, with a word why, where there can be none.
    fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("fnf{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let has_nft = Command::new("sh").args(["-c", "PATH=$PATH:/usr/sbin nft --version"]).output();
        let made = Command::new("ip").args(["netns", "add", &name]).output();
        if !has_nft.is_ok_and(|out| out.status.success()) || !made.is_ok_and(|out| out.status.success()) {
            skips::skip("root, ip and nft", "");
            return None;
        }
        Some(Self(name))
    }

    fn socket(&self) -> Socket {
        let namespace = std::fs::File::open(format!("/run/netns/{}", self.0)).expect("the namespace");
        // A thread of its own goes there; the socket stays there.
        let opened = std::thread::spawn(move || {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).expect("entering it");
            Socket::open().expect("a socket")
        });
        opened.join().expect("a socket in the namespace")
    }

    fn ip(&self, arguments: &str) {
        let done = Command::new("ip").args(["-n", &self.0]).args(arguments.split(' ')).status();
        assert!(done.is_ok_and(|status| status.success()), "ip {arguments}");
    }

    /// What it prints.
    fn nft(&self, arguments: &str, script: &str) -> String {
        let command = format!("PATH=$PATH:/usr/sbin exec ip netns exec {} nft {arguments}", self.0);
        let mut child = Command::new("sh")
            .args(["-c", &command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nft");
        std::io::Write::write_all(child.stdin.as_mut().expect("a pipe"), script.as_bytes()).expect("nft reads");
        let output = child.wait_with_output().expect("nft ends");
        assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

fn address(text: &str) -> Datum {
    Datum::Address(text.parse().expect("an address"))
}

fn tcp(at: &str, port: u16) -> Vec<Datum> {
    vec![address(at), Datum::Protocol(Transport::Tcp), Datum::Port(port)]
}

fn table(version: Version) -> Table {
    Table { version, name: "t".to_owned() }
}

/// All that there is, in a family.
fn everything(version: Version) -> Transaction {
    let t = table(version);
    let [one, two, net] = match version {
        Version::V4 => ["10.0.0.1", "10.0.0.2", "10.1.0.0/16"],
        Version::V6 => ["fd00::1", "fd00::2", "fd01::/48"],
    };
    let net: ipnet::IpNet = net.parse().expect("a net");
    let (source, destination) = (Field::Source(version), Field::Destination(version));
    let ip = Type::Address(version);
    let chain = |name: &str| Change::AddChain(t.clone(), name.to_owned(), None);
    let base = |name: &str, kind, point, priority| {
        Change::AddChain(t.clone(), name.to_owned(), Some(Hook { kind, point, priority }))
    };
    let services = Set::verdicts("services", [ip, Type::Protocol, Type::Port]);
    let endpoints = Set::map("endpoints", [ip, Type::Port, Type::Number], [ip, Type::Port]);
    let plain = Set::of("plain", [ip]);
    let clients = Set { timeout: Some(Duration::from_secs(60)), ..Set::of("clients", [ip]) };
    let nets = Set { ranges: true, ..Set::of("nets", [ip]) };
    let peers = Set { ranges: true, ..Set::verdicts("peers", [ip, Type::Protocol, Type::Port]) };
    let mut transaction = Transaction::default();
    transaction.extend([
        Change::AddTable(t.clone()),
        Change::DeleteTable(t.clone()),
        Change::AddTable(t.clone()),
        base("filter", Kind::Filter, Point::Forward, -110),
        base("pre", Kind::Nat, Point::Prerouting, -100),
        base("out", Kind::Nat, Point::Output, -100),
        base("post", Kind::Nat, Point::Postrouting, 100),
        chain("one"),
        chain("two"),
        chain("three"),
        chain("draws"),
    ]);
    transaction.push(Change::AddCounter(t.clone(), "counted/x.y".to_owned()));
    for set in [&services, &endpoints, &plain, &clients, &nets, &peers] {
        transaction.push(Change::AddSet(t.clone(), set.clone()));
    }
    let goto = |name: &str| Verdict::Goto(name.to_owned());
    let numbered = |number: u32| vec![address(one), Datum::Port(80), Datum::Number(number)];
    let to = |at: &str, port: u16| vec![address(at), Datum::Port(port)];
    transaction.extend([
        Change::AddElements(
            t.clone(),
            services,
            vec![Element::verdict(tcp(one, 80), goto("one")), Element::verdict(tcp(two, 81), Verdict::Drop)],
        ),
        Change::AddElements(
            t.clone(),
            endpoints,
            vec![Element::data(numbered(0), to(two, 8080)), Element::data(numbered(1), to(one, 8081))],
        ),
        Change::AddElements(t.clone(), plain, vec![Element::of([address(one)]), Element::of([address(two)])]),
        Change::AddElements(t.clone(), nets, vec![Element::net(net)]),
        Change::AddElements(
            t.clone(),
            peers,
            vec![Element {
                last: Some(vec![Datum::Address(net.broadcast()), Datum::Protocol(Transport::Tcp), Datum::Port(90)]),
                ..Element::verdict(
                    vec![Datum::Address(net.network()), Datum::Protocol(Transport::Tcp), Datum::Port(80)],
                    Verdict::Accept,
                )
            }],
        ),
    ]);
    let key = || vec![destination, Field::Protocol, Field::DestinationPort];
    let mut rule = |chain: &str, rule: Rule| transaction.push(Change::AddRule(t.clone(), chain.to_owned(), rule));
    let verdict = Statement::Verdict;
    rule("filter", vec![Statement::Established, verdict(Verdict::Accept)]);
    rule("filter", vec![Statement::New, Statement::In(vec![destination], "plain".into(), true), Statement::Reject]);
    rule("filter", vec![Statement::In(vec![source], "nets".into(), false), Statement::Count, verdict(Verdict::Return)]);
    rule("filter", vec![Statement::VerdictMap(vec![source, Field::Protocol, Field::DestinationPort], "peers".into())]);
    rule("filter", vec![Statement::Within(source, net, false), Statement::Limit(5), Statement::Log(7, "no ".into())]);
    rule(
        "filter",
        vec![Statement::Among(destination, vec![Element::of([address(one)]), Element::of([address(two)])], true)],
    );
    let nets = vec![Element::net(net), Element::range([address(one)], [address(two)])];
    rule("filter", vec![Statement::Among(source, nets, false), verdict(Verdict::Drop)]);
    rule(
        "filter",
        vec![Statement::Interface(Field::Input, "veth*".into(), false), verdict(Verdict::Jump("three".into()))],
    );
    rule("filter", vec![Statement::Interface(Field::Output, "eth0".into(), true), verdict(Verdict::Accept)]);
    rule("pre", vec![Statement::VerdictMap(key(), "services".into())]);
    rule(
        "pre",
        vec![
            Statement::DestinationIsLocal,
            Statement::Is(Field::Protocol, Datum::Protocol(Transport::Udp), true),
            Statement::AddMark(0x4000),
        ],
    );
    rule("post", vec![Statement::HasMark(0x4000), Statement::TurnMark(0x4000), Statement::Masquerade]);
    rule("post", vec![Statement::Translated, Statement::SourceIsLocal, Statement::Masquerade]);
    let draw = vec![destination, Field::DestinationPort, Field::Random(2)];
    rule("one", vec![Statement::TranslateBy(draw, "endpoints".into())]);
    let to = std::net::SocketAddr::new(two.parse().expect("an address"), 8080);
    rule(
        "two",
        vec![
            Statement::Update(vec![source], "clients".into()),
            Statement::Is(Field::Protocol, Datum::Protocol(Transport::Tcp), true),
            Statement::TranslateTo(to),
        ],
    );
    rule("three", vec![Statement::CountIn("counted/x.y".into()), verdict(Verdict::Return)]);
    if version == Version::V6 {
        rule("three", vec![Statement::Neighbours, verdict(Verdict::Accept)]);
    }
    rule("draws", vec![Statement::Draw(vec![goto("one"), goto("two")])]);
    transaction
}

#[test]
fn what_is_said_is_what_nft_would_have_said() {
    let Some(net) = Net::new() else { return };
    let mut socket = net.socket();
    for version in [Version::V4, Version::V6] {
        let transaction = everything(version);
        let family = if version == Version::V4 { "ip" } else { "ip6" };
        socket.apply(&transaction).unwrap();
        let ours = net.nft(&format!("list table {family} t"), "");
        // The kernel looks for a chain's users a moment after they went.
        net.nft(&format!("delete table {family} t"), "");
        net.nft("-f -", &nfts(&transaction.to_string(), family));
        let theirs = net.nft(&format!("list table {family} t"), "");
        assert_eq!(plain(&ours), plain(&theirs), "{transaction}");
        assert!(ours.lines().count() > 60, "{ours}");
    }
}

/// What `nft` wants to be told, and does not need here: maps by `typeof` where a key has a number, and protocols.
fn nfts(text: &str, family: &str) -> String {
    let key = format!("typeof {family} daddr . tcp dport . numgen random mod 2 : {family} daddr . tcp dport");
    let of_map = |address: &str| format!("type {address} . inet_service . mark : {address} . inet_service");
    text.replace(&of_map("ipv4_addr"), &key)
        .replace(&of_map("ipv6_addr"), &key)
        .replace(&format!("dnat to {family} daddr . th dport"), &format!("dnat {family} to {family} daddr . tcp dport"))
}

/// Without what is only a way of showing it.
fn plain(list: &str) -> Vec<String> {
    let mut lines: Vec<String> = list
        .lines()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.starts_with("typeof") && !line.starts_with("type ipv") && !line.is_empty())
        .collect();
    for line in &mut lines {
        for (shown, same) in [("0x00000000", "0"), ("0x00000001", "1"), ("tcp dport", "th dport")] {
            *line = line.replace(shown, same);
        }
    }
    lines
}

#[test]
fn elements_come_and_go_and_chains_are_made_anew() {
    let Some(net) = Net::new() else { return };
    let (mut socket, t) = (net.socket(), table(Version::V4));
    socket.apply(&everything(Version::V4)).unwrap();
    let plain = Set::of("plain", [Type::Address(Version::V4)]);
    let nets = Set { ranges: true, ..Set::of("nets", [Type::Address(Version::V4)]) };
    let mut change = Transaction::default();
    let number = |n: u32| Element::of([Datum::Address(std::net::Ipv4Addr::from(0x0b00_0000 + n).into())]);
    change.extend([
        Change::DeleteElements(t.clone(), plain.clone(), vec![Element::of([address("10.0.0.1")])]),
        Change::AddElements(t.clone(), plain, (0..2000).map(number).collect()),
        Change::DeleteElements(t.clone(), nets.clone(), vec![Element::net("10.1.0.0/16".parse().unwrap())]),
        Change::AddElements(t.clone(), nets, vec![Element::net("255.0.0.0/8".parse().unwrap())]),
        Change::FlushChain(t.clone(), "filter".to_owned()),
        Change::AddRule(t.clone(), "filter".to_owned(), vec![Statement::Verdict(Verdict::Drop)]),
        Change::FlushChain(t.clone(), "draws".to_owned()),
        Change::DeleteChain(t.clone(), "draws".to_owned()),
    ]);
    socket.apply(&change).unwrap();
    let list = net.nft("list table ip t", "");
    assert!(!list.contains("10.0.0.1,") && list.contains("11.0.7.207"), "{list}");
    assert!(list.contains("elements = { 255.0.0.0/8 }") && !list.contains("chain draws"), "{list}");
}

#[test]
fn a_refusal_names_the_change_and_leaves_everything_as_it_was() {
    let Some(net) = Net::new() else { return };
    let (mut socket, t) = (net.socket(), table(Version::V4));
    socket.apply(&everything(Version::V4)).unwrap();
    let before = net.nft("list ruleset", "");
    let mut change = Transaction::default();
    change.extend([
        Change::FlushChain(t.clone(), "filter".to_owned()),
        Change::AddRule(t.clone(), "nowhere".to_owned(), vec![Statement::Count]),
        Change::DeleteChain(t.clone(), "one".to_owned()),
    ]);
    let Err(Error::Refused { change, why }) = socket.apply(&change) else { panic!("it was done") };
    assert_eq!((change.as_str(), why.as_str()), ("add rule ip t nowhere counter", "No such file or directory"));
    assert_eq!(net.nft("list ruleset", ""), before);
    // A set that packets add to has no elements of its own data.
    let set = Set { data: Data::Verdict, ..Set::of("plain", [Type::Port]) };
    let mut change = Transaction::default();
    change.push(Change::AddSet(t, set));
    assert!(matches!(socket.apply(&change), Err(Error::Refused { .. })), "another set of that name is there");
}

/// Sends datagrams to itself.
fn send(net: &Net, datagrams: usize) {
    let namespace = std::fs::File::open(format!("/run/netns/{}", net.0)).unwrap();
    net.ip("link set lo up");
    let sender = std::thread::spawn(move || {
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:4000").unwrap();
        (0..datagrams).for_each(|_| drop(socket.send_to(b"?", "127.0.0.1:53")));
    });
    sender.join().unwrap();
}

/// The table has a counter, and tells of what it drops.
fn counting(net: &Net) -> Socket {
    let (mut socket, t) = (net.socket(), table(Version::V4));
    let mut made = Transaction::default();
    made.extend([
        Change::AddTable(t.clone()),
        Change::AddCounter(t.clone(), "dropped".to_owned()),
        Change::AddChain(
            t.clone(),
            "input".to_owned(),
            Some(Hook { kind: Kind::Filter, point: Point::Input, priority: 0 }),
        ),
        Change::AddRule(
            t.clone(),
            "input".to_owned(),
            vec![
                Statement::Is(Field::DestinationPort, Datum::Port(53), true),
                Statement::CountIn("dropped".to_owned()),
                Statement::Log(77, "no".to_owned()),
                Statement::Verdict(Verdict::Drop),
            ],
        ),
    ]);
    socket.apply(&made).unwrap();
    socket
}

#[test]
fn counters_count_across_changes_of_the_rules_that_use_them() {
    let Some(net) = Net::new() else { return };
    let (mut socket, t) = (counting(&net), table(Version::V4));
    send(&net, 2);
    let counted = |packets: u64| vec![crate::Counted { name: "dropped".to_owned(), packets, bytes: packets * 29 }];
    assert_eq!(socket.counters(&t).unwrap(), counted(2));
    let mut change = Transaction::default();
    change.extend([
        Change::AddCounter(t.clone(), "dropped".to_owned()),
        Change::FlushChain(t.clone(), "input".to_owned()),
        Change::AddRule(
            t.clone(),
            "input".to_owned(),
            vec![Statement::CountIn("dropped".to_owned()), Statement::Verdict(Verdict::Drop)],
        ),
    ]);
    socket.apply(&change).unwrap();
    send(&net, 1);
    assert_eq!(socket.counters(&t).unwrap(), counted(3));
    let mut change = Transaction::default();
    change.extend([
        Change::FlushChain(t.clone(), "input".to_owned()),
        Change::DeleteCounter(t.clone(), "dropped".to_owned()),
    ]);
    socket.apply(&change).unwrap();
    assert_eq!(socket.counters(&t).unwrap(), []);
    assert_eq!(socket.counters(&table(Version::V6)).unwrap(), [], "there is no such table");
}

#[test]
fn who_listens_to_a_group_is_told_of_packets() {
    let Some(net) = Net::new() else { return };
    let _table = counting(&net);
    let namespace = std::fs::File::open(format!("/run/netns/{}", net.0)).unwrap();
    let opened = std::thread::spawn(move || {
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        (Log::open(77).unwrap(), Log::open(77).map(drop).unwrap_err().raw_os_error())
    });
    let (mut log, second) = opened.join().unwrap();
    assert_eq!(second, Some(nix::errno::Errno::EPERM as i32), "one listens to a group");
    send(&net, 1);
    let mut seen = Vec::new();
    while seen.is_empty() {
        seen = log.next(Duration::from_secs(20)).unwrap();
        assert!(!seen.is_empty(), "nothing is told");
    }
    let [seen] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!((seen.words.as_str(), seen.protocol), ("no", 17));
    assert_eq!((seen.source.port(), seen.destination), (4000, "127.0.0.1:53".parse().unwrap()));
}

#[test]
fn what_has_a_time_is_read_and_goes_on_from_there() {
    let Some(net) = Net::new() else { return };
    let mut socket = net.socket();
    for (version, client) in [(Version::V4, "192.0.2.1"), (Version::V6, "2001:db8::1")] {
        let t = table(version);
        assert_eq!(socket.timed_addresses(&t).unwrap(), None);
        socket.apply(&everything(version)).unwrap();
        assert_eq!(socket.timed_addresses(&t).unwrap(), Some(Vec::new()));
        let set = Set { timeout: Some(Duration::from_secs(60)), ..Set::of("clients", [Type::Address(version)]) };
        let element = Element { expires: Some(Duration::from_secs(30)), ..Element::of([address(client)]) };
        let mut change = Transaction::default();
        change.push(Change::AddElements(t.clone(), set, vec![element]));
        socket.apply(&change).unwrap();
        let read = socket.timed_addresses(&t).unwrap().unwrap();
        let [(name, addresses)] = read.as_slice() else { panic!("{read:?}") };
        let [(at, left)] = addresses.as_slice() else { panic!("{read:?}") };
        assert_eq!((name.as_str(), Datum::Address(*at)), ("clients", address(client)));
        assert!((20..=30).contains(&left.as_secs()), "{left:?}");
    }
}
