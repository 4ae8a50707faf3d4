//! Messages come back as they were sent, and bytes that are none are refused and never panic.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse};
use storage::{Error, Expect, KeyValue, Outcome};

use crate::codec::Encode;
use crate::command::{self, Command, Operation};
use crate::network::{Answer, Ask, Envelope, Place, Refusal};
use crate::types::{Entry, LeaderId, Member, Membership, SnapshotMeta, StoredMembership, Vote, log_id};

fn vote() -> Vote {
    Vote { leader_id: LeaderId { term: 3, node_id: 2 }, committed: true }
}

fn membership() -> Membership {
    let nodes = BTreeMap::from([1, 2, 3].map(|id| (id, Member { address: format!("10.0.0.{id}:2380") })));
    Membership::new(vec![BTreeSet::from([1, 2]), BTreeSet::from([1, 3])], nodes).unwrap()
}

fn operations() -> Vec<Operation> {
    vec![
        Operation::Put {
            key: "/ü".into(),
            value: Bytes::from_static(b"value"),
            expect: Expect::ModRevision(7),
            expiry: 9,
        },
        Operation::Put { key: "".into(), value: Bytes::new(), expect: Expect::Absent, expiry: 0 },
        Operation::Delete { key: "/a".into(), mod_revision: 3 },
        Operation::Compact { revision: 5 },
        Operation::Enrol { token: u128::MAX },
        Operation::Forget { node: 4 },
    ]
}

fn asks() -> Vec<Ask> {
    let entry = |index, payload| Entry { log_id: log_id(3, 2, index), payload };
    let append = AppendEntriesRequest {
        vote: vote(),
        prev_log_id: Some(log_id(2, 1, 8)),
        leader_commit: None,
        entries: vec![
            entry(9, EntryPayload::Blank),
            entry(10, EntryPayload::Normal(Command(operations().into()))),
            entry(11, EntryPayload::Membership(membership())),
        ],
    };
    let mut asked = VoteRequest::new(vote(), Some(log_id(1, 1, 1)));
    asked.leadership_transfer = true;
    let stored = StoredMembership::new(Some(log_id(1, 1, 4)), membership());
    let meta = SnapshotMeta { last_log_id: Some(log_id(2, 1, 8)), last_membership: stored };
    vec![
        Ask::Append(append),
        Ask::Vote(asked.clone()),
        Ask::PreVote(asked),
        Ask::Transfer(TransferLeaderRequest::new(vote(), 3, None)),
        Ask::SnapshotBegin { meta, bytes: 1 << 40 },
        Ask::SnapshotPart { offset: 77, data: Bytes::from_static(&[0; 33]) },
        Ask::SnapshotEnd { vote: vote() },
        Ask::Propose(operations()),
        Ask::ReadIndex,
        Ask::Join { token: 1, address: "a:1".into() },
        Ask::Promote(1),
        Ask::Remove(2),
        Ask::Lead(3),
        Ask::Progress,
        Ask::Move { node: 1, address: "b:2".into() },
    ]
}

fn answers() -> Vec<Answer> {
    let kv = KeyValue {
        key: "/k".into(),
        value: Bytes::from_static(b"v"),
        mod_revision: 1,
        create_revision: 2,
        version: 3,
        lease: 4,
    };
    let proposed = vec![
        Ok(command::Answer::Write(Outcome::Done { revision: 6 })),
        Ok(command::Answer::Write(Outcome::Conflict { current: Some(kv), revision: 6 })),
        Ok(command::Answer::Write(Outcome::Conflict { current: None, revision: 6 })),
        Ok(command::Answer::Compacted),
        Ok(command::Answer::Future(8)),
        Ok(command::Answer::Enrolled(5)),
        Ok(command::Answer::Forgotten),
        Err(Error::Full("no space".into())),
        Err(Error::Unavailable("not now".into())),
        Err(Error::FutureRevision { current: 3 }),
        Err(Error::Compacted { floor: 2 }),
    ];
    vec![
        Answer::Append(AppendEntriesResponse::Success),
        Answer::Append(AppendEntriesResponse::PartialSuccess(Some(log_id(1, 1, 1)))),
        Answer::Append(AppendEntriesResponse::Conflict),
        Answer::Append(AppendEntriesResponse::HigherVote(vote())),
        Answer::Vote(VoteResponse::new(vote(), None, true)),
        Answer::Transfer(Ok(())),
        Answer::Snapshot(vote()),
        Answer::Proposed(proposed),
        Answer::ReadIndex(12),
        Answer::Joined { cluster: 1, node: 2 },
        Answer::Done,
        Answer::Progress { last: 3, members: vec![Place { node: 1, matched: None, silent_ms: Some(4) }] },
        Answer::Refused(Refusal::Cluster { ours: 1, theirs: 2 }),
        Answer::Refused(Refusal::Member(3)),
        Answer::Refused(Refusal::Removed(4)),
        Answer::Refused(Refusal::NotLeader { leader: Some(1), address: Some("a:1".into()) }),
        Answer::Refused(Refusal::Not("no".into())),
        Answer::Refused(Refusal::Unknown("perhaps".into())),
    ]
}

#[test]
fn messages_come_back_as_they_were_sent() {
    for ask in asks() {
        let sent = Envelope { cluster: 7, from: 1, to: 2, ask };
        let back = Envelope::from_bytes(sent.to_bytes()).unwrap();
        assert_eq!(format!("{back:?}"), format!("{sent:?}"));
        assert_eq!(back.to_bytes(), sent.to_bytes(), "{sent:?}");
    }
    for sent in answers() {
        let back = Answer::from_bytes(sent.to_bytes()).unwrap();
        assert_eq!(format!("{back:?}"), format!("{sent:?}"));
        assert_eq!(back.to_bytes(), sent.to_bytes(), "{sent:?}");
    }
}

#[test]
fn what_is_no_message_is_refused() {
    for ask in asks() {
        let bytes = Envelope { cluster: 7, from: 1, to: 2, ask }.to_bytes();
        for end in 0..bytes.len() {
            assert!(Envelope::from_bytes(bytes.slice(..end)).is_err());
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0xff;
            drop(Envelope::from_bytes(damaged.into())); // whatever it is, it does not panic, and allocates no more than it has
        }
    }
    let mut later = Answer::Done.to_bytes().to_vec();
    later[0] = 2;
    assert_eq!(Answer::from_bytes(later.into()).unwrap_err(), "messages of form 2 are not known to this version");
}
