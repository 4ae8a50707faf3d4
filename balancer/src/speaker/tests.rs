//! Announcers on a link that exists only here: who answers, and for how long nobody or more than one does.

use super::*;
use crate::election::{Candidate, node_id};
use crate::membership::SILENCE;

/// How long a turn of the link takes.
const STEP: Duration = Duration::from_millis(10);

/// Announcers, and who hears whom.
struct Link {
    speakers: Vec<Option<Speaker>>,
    /// The part of the link that each is on.
    part: Vec<usize>,
    table: Arc<Table>,
    now: Instant,
    /// Addresses that were told of.
    told: usize,
}

fn mac(at: usize) -> Mac {
    [2, 0, 0, 0, 0, at as u8]
}

impl Link {
    fn new(nodes: usize, addresses: u8) -> Link {
        let well = Candidate { ready: true, excluded: false };
        let table = Table {
            addresses: (0..addresses).map(|at| (IpAddr::from([192, 0, 2, at]), None)).collect(),
            nodes: (0..nodes).map(|at| (node_id(&at.to_string()), well)).collect(),
        };
        let mut link = Link {
            speakers: (0..nodes).map(|_| None).collect(),
            part: vec![0; nodes],
            table: Arc::new(table),
            now: Instant::now(),
            told: 0,
        };
        (0..nodes).for_each(|at| link.start(at));
        link
    }

    fn start(&mut self, at: usize) {
        let mut speaker = Speaker::new(mac(at), None, node_id(&at.to_string()), self.now);
        speaker.set_table(self.table.clone());
        self.speakers[at] = Some(speaker);
    }

    fn send(&mut self, from: usize, frame: &[u8]) {
        let Some(heard) = frames::read(frame) else { return };
        self.told += usize::from(matches!(heard, Heard::Claims { .. }));
        for to in (0..self.speakers.len()).filter(|to| *to != from && self.part[*to] == self.part[from]) {
            let Some(speaker) = &mut self.speakers[to] else { continue };
            speaker.hear(heard, self.now);
            speaker.elect(self.now);
        }
    }

    /// Lets time pass; returns for how long some address had nobody, or more than one on its part of the link.
    fn pass(&mut self, time: Duration) -> (Duration, Duration) {
        let (end, mut nobody, mut several) = (self.now + time, Duration::ZERO, Duration::ZERO);
        while self.now < end {
            for at in 0..self.speakers.len() {
                let Some(speaker) = &mut self.speakers[at] else { continue };
                speaker.elect(self.now);
                for frame in speaker.say(self.now) {
                    self.send(at, &frame);
                }
            }
            let owners = |address: &IpAddr| {
                let all = self.speakers.iter().enumerate().filter(|(at, _)| self.part[*at] == 0);
                all.filter(|(_, s)| s.as_ref().is_some_and(|s| s.owned.contains_key(address))).count()
            };
            let counts: Vec<usize> = self.table.addresses.keys().map(owners).collect();
            nobody += if counts.contains(&0) { STEP } else { Duration::ZERO };
            several += if counts.iter().any(|count| *count > 1) { STEP } else { Duration::ZERO };
            self.now += STEP;
        }
        (nobody, several)
    }
}

#[test]
fn a_node_that_dies_is_followed_within_three_seconds_and_nobody_is_doubled() {
    let mut link = Link::new(3, 30);
    link.pass(SILENCE * 2);
    assert_eq!(link.pass(Duration::from_secs(5)), (Duration::ZERO, Duration::ZERO));
    link.speakers[1] = None;
    let (nobody, several) = link.pass(Duration::from_secs(10));
    assert!(nobody <= SILENCE + STEP && nobody < Duration::from_secs(3), "{nobody:?}");
    assert_eq!(several, Duration::ZERO);
    // It comes back, listens first, and takes its own.
    link.start(1);
    assert_eq!(link.pass(Duration::from_secs(5)), (Duration::ZERO, Duration::ZERO));
    assert!(link.speakers[1].as_ref().is_some_and(|speaker| !speaker.owned.is_empty()));
}

#[test]
fn who_leaves_hands_over_at_once() {
    let mut link = Link::new(3, 30);
    link.pass(SILENCE * 2);
    let last = link.speakers[1].take().map(|mut speaker| speaker.leave()).unwrap();
    link.send(1, &last);
    assert_eq!(link.pass(Duration::from_secs(5)), (Duration::ZERO, Duration::ZERO));
}

#[test]
fn a_link_that_was_cut_heals_within_a_heartbeat_and_all_is_told_anew() {
    let mut link = Link::new(3, 30);
    link.pass(SILENCE * 2);
    link.part[1] = 1;
    let (nobody, several) = link.pass(Duration::from_secs(30));
    assert!(nobody <= SILENCE + STEP && several == Duration::ZERO, "{nobody:?} {several:?}");
    assert_eq!(link.speakers[1].as_ref().map(|speaker| speaker.owned.len()), Some(30), "alone, it has all of them");
    link.part[1] = 0;
    link.told = 0;
    let (nobody, several) = link.pass(Duration::from_millis(1000));
    assert!(nobody == Duration::ZERO && several <= BEAT + STEP * 2, "{nobody:?} {several:?}");
    assert!(link.told >= 30 * 2 * 2, "every neighbour is told who has them now, more than once: {}", link.told);
    assert_eq!(link.pass(Duration::from_secs(5)), (Duration::ZERO, Duration::ZERO));
}

#[test]
fn only_the_owner_answers_and_it_defends_its_address_with_patience() {
    let mut link = Link::new(2, 1);
    link.pass(SILENCE + DEFENCE * 2);
    let (address, asker) = (IpAddr::from([192, 0, 2, 0]), [2, 9, 9, 9, 9, 9]);
    let asks = Heard::Asks { target: address, source: IpAddr::from([192, 0, 2, 9]), mac: asker };
    let claims = Heard::Claims { address, mac: asker };
    let now = link.now;
    let mut count = |heard: Heard, now: Instant| -> usize {
        link.speakers.iter_mut().flatten().map(|speaker| speaker.hear(heard, now).len()).sum()
    };
    assert_eq!(count(asks, now), 1);
    assert_eq!(count(Heard::Asks { target: IpAddr::from([192, 0, 2, 1]), source: address, mac: asker }, now), 0);
    assert_eq!((count(claims, now), count(claims, now + STEP), count(claims, now + DEFENCE)), (2, 0, 2));
}

#[test]
fn an_address_is_told_of_several_times_and_then_seldom() {
    let mut link = Link::new(1, 1);
    link.pass(SILENCE);
    link.told = 0;
    link.pass(Duration::from_secs(6));
    assert_eq!(link.told, TOLD.len() * 2);
    link.pass(Duration::from_secs(60));
    assert_eq!(link.told, (TOLD.len() + 2) * 2);
}

#[test]
fn many_addresses_are_told_of_in_turn() {
    let mut link = Link::new(1, 200);
    link.pass(SILENCE);
    let Some(speaker) = &mut link.speakers[0] else { return };
    let (mut now, begun, mut told) = (link.now, link.now, 0);
    speaker.elect(now);
    while told < 200 * 2 {
        assert!(now - begun < Duration::from_millis(50), "{told}");
        let said = speaker.say(now);
        assert!(said.len() <= AT_ONCE * 2 + 1);
        told += said.iter().filter(|frame| matches!(frames::read(frame), Some(Heard::Claims { .. }))).count();
        now = speaker.due(now).max(now);
    }
}
