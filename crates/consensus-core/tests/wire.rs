//! The codec and what is decoded by it: hostile bytes give an error, never a panic and never a large allocation.

use crate::common::heap::allocations;
use consensus_core::wire::{self, WireError};
use consensus_core::{
    BadChange, Bytes, Change, ClientId, Epoch, MAX_MEMBERS, Members, NodeId, ProposalId, Refusal, Sessions,
    Slot, Verdict,
};
use quickcheck::{Arbitrary, Gen, QuickCheck, quickcheck};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

fn largest_allocation(work: impl FnOnce()) -> usize {
    allocations(work).1
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Sample {
    Unit,
    Numbers(Vec<u64>),
    Blob(Bytes),
    Text(String),
    Map(BTreeMap<u64, Bytes>),
    Members(Members),
    Change(Change),
    Refusal(Refusal),
    Entry { slot: Slot, epoch: Epoch, id: Option<ProposalId>, verdict: Verdict, payload: Bytes },
    Nested(Vec<Vec<Option<u32>>>),
}

impl Arbitrary for Sample {
    fn arbitrary(g: &mut Gen) -> Self {
        let bytes = |g: &mut Gen| Bytes::from(Vec::<u8>::arbitrary(g));
        match u8::arbitrary(g) % 10 {
            0 => Self::Unit,
            1 => Self::Numbers(Vec::arbitrary(g)),
            2 => Self::Blob(bytes(g)),
            3 => Self::Text(String::arbitrary(g)),
            4 => Self::Map(Vec::<u64>::arbitrary(g).into_iter().map(|key| (key, bytes(g))).collect()),
            5 => Self::Members(members(g)),
            6 => Self::Change(Change::Replace(Vec::<u64>::arbitrary(g).into_iter().map(NodeId).collect())),
            7 => Self::Refusal(Refusal::BadChange(BadChange::Senseless(String::arbitrary(g)))),
            8 => Self::Entry {
                slot: Slot(u64::arbitrary(g)),
                epoch: Epoch(u64::arbitrary(g)),
                id: bool::arbitrary(g).then(|| ProposalId::new(ClientId::from_bits(u64::arbitrary(g)), 5)),
                verdict: Verdict::Abort,
                payload: bytes(g),
            },
            _ => Self::Nested(Vec::arbitrary(g)),
        }
    }
}

fn nodes(g: &mut Gen) -> Vec<NodeId> {
    Vec::<u8>::arbitrary(g).into_iter().map(|node| NodeId(u64::from(node) % 20)).collect()
}

fn members(g: &mut Gen) -> Members {
    Members::of(nodes(g)).with_learners(nodes(g)).with_witnesses(nodes(g)).with_outgoing(nodes(g))
}

#[derive(Clone, Debug)]
struct AnyMembers(Members);

impl Arbitrary for AnyMembers {
    fn arbitrary(g: &mut Gen) -> Self {
        Self(members(g))
    }
}

fn survives<T: DeserializeOwned>(bytes: &[u8]) {
    let _ = wire::decode::<T>(bytes, wire::MAX_FRAME_BYTES);
}

quickcheck! {
    fn what_was_encoded_is_decoded(sample: Sample) -> bool {
        let bytes = wire::encode(&sample);
        wire::decode::<Sample>(&bytes, bytes.len()) == Ok(sample)
    }

    fn what_follows_the_end_is_refused(sample: Sample, more: u8) -> bool {
        let mut bytes = wire::encode(&sample);
        bytes.push(more);
        wire::decode::<Sample>(&bytes, bytes.len()) == Err(WireError::Trailing(1))
    }

    fn a_truncated_encoding_is_refused(sample: Sample) -> bool {
        let bytes = wire::encode(&sample);
        (0..bytes.len()).all(|cut| wire::decode::<Sample>(&bytes[..cut], bytes.len()).is_err())
    }

    fn one_byte_over_the_limit_is_refused(sample: Sample) -> bool {
        let bytes = wire::encode(&sample);
        let (length, limit) = (bytes.len(), bytes.len() - 1);
        wire::decode::<Sample>(&bytes, limit) == Err(WireError::TooLong { length, limit })
    }

    fn encoding_behind_something_keeps_it(before: Vec<u8>, sample: Sample) -> bool {
        let mut buffer = before.clone();
        wire::encode_into(&sample, &mut buffer);
        buffer == [before, wire::encode(&sample)].concat()
    }

    fn members_keep_their_invariants(members: AnyMembers) -> bool {
        let members = members.0;
        let lists = [members.voters(), members.outgoing(), members.learners(), members.witnesses()];
        let all: BTreeSet<NodeId> = lists.into_iter().flatten().copied().collect();
        assert!(lists.iter().all(|list| list.is_sorted_by(|a, b| a < b)));
        assert!(!all.contains(&NodeId::ZERO));
        assert!(members.learners().iter().all(|&node| !members.is_voter(node)));
        assert!(members.witnesses().iter().all(|&node| members.is_voter(node)));
        assert!(members.iter().eq(all.iter().copied()), "every member once, in order");
        assert!(members.others(NodeId(3)).all(|node| node != NodeId(3)));
        assert!((0..20).map(NodeId).all(|node| members.contains(node) == all.contains(&node)));
        wire::decode::<Members>(&wire::encode(&members), 1 << 10) == Ok(members)
    }
}

#[test]
fn arbitrary_bytes_never_panic() {
    fn property(bytes: Vec<u8>) -> bool {
        survives::<Sample>(&bytes);
        survives::<Members>(&bytes);
        survives::<Sessions>(&bytes);
        survives::<Vec<Sample>>(&bytes);
        true
    }
    QuickCheck::new().tests(20_000).quickcheck(property as fn(Vec<u8>) -> bool);
}

#[test]
fn a_flipped_bit_never_panics() {
    fn property(sample: Sample, at: usize) -> bool {
        let mut bytes = wire::encode(&sample);
        let bit = at % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        survives::<Sample>(&bytes);
        true
    }
    QuickCheck::new().tests(20_000).quickcheck(property as fn(Sample, usize) -> bool);
}

/// A length of (nearly) 2^64, or of 2^40, in front of three bytes.
fn bombs() -> [Vec<u8>; 2] {
    let huge = [vec![0xff; 9], vec![1, 1, 2, 3]].concat();
    [huge, wire::encode(&(1_u64 << 40, 1_u8, 2_u8, 3_u8))]
}

#[test]
fn a_hostile_length_does_not_allocate() {
    fn refused<T: DeserializeOwned>(bytes: &[u8]) -> usize {
        largest_allocation(|| assert!(wire::decode::<T>(bytes, 1 << 20).is_err()))
    }
    const LITTLE: usize = 1 << 12;
    for bomb in bombs() {
        assert!(refused::<Bytes>(&bomb) <= LITTLE);
        assert!(refused::<String>(&bomb) <= LITTLE);
        assert!(refused::<BTreeMap<u64, Bytes>>(&bomb) <= LITTLE);
        assert!(refused::<Sessions>(&bomb) <= LITTLE);
        assert!(refused::<Vec<u64>>(&bomb) <= LITTLE);
        assert!(refused::<Vec<[u64; 8]>>(&bomb) <= LITTLE);
        assert!(refused::<Members>(&bomb) <= LITTLE);
        assert!(refused::<Bounded>(&bomb) <= LITTLE);
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Bounded {
    #[serde(deserialize_with = "wire::at_most::<100, _, _>")]
    entries: Vec<Option<[u64; 16]>>,
}

#[test]
fn a_bounded_vector_is_refused_as_soon_as_it_is_too_long() {
    for length in [0, 1, 99, 100] {
        let bounded = Bounded { entries: vec![None; length] };
        assert_eq!(wire::decode(&wire::encode(&bounded), 1 << 10), Ok(bounded));
    }
    // A megabyte on the wire would be 136 in memory.
    let bomb = wire::encode(&vec![0_u8; 1 << 20]);
    let largest = largest_allocation(|| assert!(wire::decode::<Bounded>(&bomb, 2 << 20).is_err()));
    assert!(largest < 100 * 1024, "{largest}");
    assert!(wire::decode::<Bounded>(&wire::encode(&vec![0_u8; 101]), 1 << 10).is_err());
}

#[test]
fn members_that_break_their_invariants_are_refused() {
    let decoded = |lists: [&[u64]; 4]| wire::decode::<Members>(&wire::encode(&lists), 1 << 16);
    assert_eq!(decoded([&[1, 2], &[], &[3], &[]]).unwrap().voters(), [NodeId(1), NodeId(2)]);
    assert!(decoded([&[1, 2, 3], &[1, 2, 4], &[5], &[4]]).is_ok(), "a witness may be on its way out");
    for (lists, why) in [
        ([&[2, 1][..], &[], &[], &[]], "unsorted"),
        ([&[1, 1], &[], &[], &[]], "repeated"),
        ([&[1, 2], &[5, 4], &[], &[]], "unsorted"),
        ([&[1, 2], &[], &[5, 4], &[]], "unsorted"),
        ([&[1, 2], &[], &[], &[2, 1]], "unsorted"),
        ([&[0, 1], &[], &[], &[]], "zero"),
        ([&[1, 2], &[], &[2], &[]], "a learner with a vote"),
        ([&[1, 2], &[3], &[3], &[]], "a learner with an outgoing vote"),
        ([&[1, 2], &[], &[], &[3]], "a witness without a vote"),
    ] {
        assert!(decoded(lists).is_err(), "{why}: {lists:?}");
    }
    let many: Vec<u64> = (1..=MAX_MEMBERS as u64 + 1).collect();
    assert!(decoded([&many, &[], &[], &[]]).is_err());
    assert!(decoded([&many[1..], &[], &[], &[]]).is_ok());
}

#[test]
fn counters_never_wrap() {
    assert_eq!(Epoch(u64::MAX).next(), Epoch(u64::MAX), "a peer may name any epoch");
    assert_eq!(Slot(6).next(), Slot(7));
}

#[test]
fn hot_types_stay_small() {
    use consensus_core::{Effect, Event, Note, Offence, Reply};
    assert!(size_of::<Refusal>() <= 24);
    assert!(size_of::<Offence>() <= 24);
    assert!(size_of::<Reply>() <= 72);
    assert!(size_of::<Event<Bytes>>() <= 56);
    // As large as a decision: what is seldom written down must not make it larger.
    assert!(size_of::<Effect<u8>>() <= 80 && size_of::<Note>() <= 32);
}
