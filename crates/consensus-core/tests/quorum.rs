//! Quorum arithmetic, against the definition of intersection and against dumb oracles.

use consensus_core::quorum::{
    Flexible, Tally, byzantine, byzantine_faults, majority, reached_by, reached_by_voters, weak,
};
use consensus_core::{
    Faults, Guarantees, Membership, NodeId, Problem, Reads, Resilience, Termination, Timing,
};
use quickcheck::{QuickCheck, TestResult, quickcheck};
use std::collections::BTreeSet;

/// The fewest nodes that two sets of sizes `a` and `b` among `n` have in common.
const fn least_overlap(n: usize, a: usize, b: usize) -> usize {
    (a + b).saturating_sub(n)
}

#[test]
fn least_overlap_is_what_enumeration_finds() {
    for n in 1..=8_u32 {
        for (a, b) in (0..=n).flat_map(|a| (0..=n).map(move |b| (a, b))) {
            let sets = |size| (0..1_u32 << n).filter(move |set| set.count_ones() == size);
            let found = sets(a).flat_map(|x| sets(b).map(move |y| (x & y).count_ones())).min().unwrap();
            assert_eq!(found as usize, least_overlap(n as usize, a as usize, b as usize), "{n} {a} {b}");
        }
    }
}

#[test]
fn any_two_majorities_intersect_and_a_smaller_number_would_not_do() {
    for n in 1..=40 {
        let q = majority(n);
        assert!(q <= n);
        assert!(least_overlap(n, q, q) >= 1, "n = {n}");
        assert_eq!(least_overlap(n, q - 1, q - 1), 0, "n = {n}");
        assert!(n - (n - 1) / 2 >= q, "the correct nodes alone reach a quorum, n = {n}");
    }
}

#[test]
fn any_two_byzantine_quorums_share_an_honest_node() {
    for n in 1..=40 {
        let (f, q) = (byzantine_faults(n), byzantine(n));
        assert!(n > 3 * f && n <= 3 * (f + 1), "f is the largest with n > 3f, n = {n}");
        assert!(least_overlap(n, q, q) > f, "n = {n}");
        assert!(least_overlap(n, q - 1, q - 1) <= f, "a smaller quorum would not do, n = {n}");
        assert!(n - f >= q, "the honest alone reach a quorum, n = {n}");
        assert_eq!(weak(n), f + 1);
        if n == 3 * f + 1 {
            assert_eq!(q, 2 * f + 1);
        }
    }
    assert_eq!(byzantine(6), 4, "2f + 1 = 3 of 6 can be disjoint");
}

#[test]
fn flexible_quorums_are_accepted_exactly_if_they_intersect() {
    for n in 1..=12 {
        for (first, second) in (0..=n + 2).flat_map(|a| (0..=n + 2).map(move |b| (a, b))) {
            let within = (1..=n).contains(&first) && (1..=n).contains(&second);
            let works = within && least_overlap(n, first, second) >= 1;
            let made = Flexible::new(n, first, second);
            assert_eq!(made.is_ok(), works, "{first} and {second} of {n}");
            if let Ok(quorums) = made {
                assert_eq!((quorums.first(), quorums.second()), (first, second));
            }
        }
        let default = Flexible::majorities(n);
        assert_eq!(Flexible::new(n, default.first(), default.second()), Ok(default));
    }
    assert!(Flexible::new(3, usize::MAX, usize::MAX).is_err());
    assert_eq!(Flexible::new(5, 2, 3).unwrap_err().field, "quorums");
}

fn reached_by_the_oracle(values: &[u8], quorum: usize) -> Option<u8> {
    let reached = |bar: u8| values.iter().filter(|&&value| value >= bar).count() >= quorum;
    (0..=u8::MAX).rev().find(|&bar| quorum > 0 && values.len() >= quorum && reached(bar))
}

/// The fast paths for groups of three and for small ones, and the general one.
#[test]
fn what_voters_have_reached_agrees_with_counting() {
    fn agrees(values: Vec<u8>) -> bool {
        let voters: Vec<NodeId> = (0..values.len() as u64).map(NodeId).collect();
        (0..=values.len() + 2).all(|quorum| {
            let reached = reached_by_voters(&voters, quorum, |node| u64::from(values[node.0 as usize]));
            reached == u64::from(reached_by_the_oracle(&values, quorum).unwrap_or(0))
        })
    }
    for size in [3, 8, 20] {
        QuickCheck::new().rng(quickcheck::Gen::new(size)).quickcheck(agrees as fn(Vec<u8>) -> bool);
    }
}

#[test]
fn reached_by_agrees_with_counting() {
    fn property(values: Vec<u8>, quorum: usize) -> bool {
        let quorum = quorum % (values.len() + 2);
        let expected = reached_by_the_oracle(&values, quorum);
        let mut reordered = values;
        reached_by(&mut reordered, quorum) == expected
    }
    QuickCheck::new().tests(5_000).quickcheck(property as fn(Vec<u8>, usize) -> bool);
    assert_eq!(reached_by::<u8>(&mut [], 0), None);
    assert_eq!(reached_by(&mut [3, 9, 5], 2), Some(5));
}

quickcheck! {
    fn a_tally_counts_distinct_senders(votes: Vec<u8>, among: BTreeSet<u8>) -> bool {
        let mut tally = Tally::new();
        let mut oracle = BTreeSet::new();
        for vote in votes {
            let voter = NodeId(u64::from(vote));
            assert_eq!(tally.add(voter), oracle.insert(vote));
            assert!(tally.contains(voter));
        }
        let nodes: Vec<NodeId> = among.iter().map(|&node| NodeId(u64::from(node))).collect();
        assert_eq!(tally.count_among(&nodes), among.intersection(&oracle).count());
        let counted = tally.count();
        tally.clear();
        counted == oracle.len() && tally.count() == 0 && !nodes.iter().any(|&node| tally.contains(node))
    }

    fn a_repeated_vote_is_one_vote(voter: u64, times: u8) -> TestResult {
        let mut tally = Tally::new();
        let news = (0..times).filter(|_| tally.add(NodeId(voter))).count();
        TestResult::from_bool(news == usize::from(times > 0) && tally.count() == news)
    }
}

const fn claims(faults: Faults, resilience: Resilience) -> Guarantees {
    Guarantees {
        problem: Problem::Log,
        faults,
        resilience,
        timing: Timing::PartialSynchrony,
        termination: Termination::AfterStabilisation,
        reads: Reads::Barrier,
        membership: Membership::Static,
    }
}

#[test]
fn guarantees_tolerate_the_largest_number_that_their_bound_allows() {
    type Bound = fn(usize, usize) -> bool;
    let bounds: [(Resilience, Bound); 5] = [
        (Resilience::Half, |n, f| n > 2 * f),
        (Resilience::Third, |n, f| n > 3 * f),
        (Resilience::Fifth, |n, f| n > 5 * f),
        (Resilience::AllButOne, |n, f| n > f),
        (Resilience::Zero, |_, f| f == 0),
    ];
    for (resilience, allowed) in bounds {
        for n in 1..=40 {
            let expected = (0..=n).filter(|&f| allowed(n, f)).max().unwrap();
            let crash = claims(Faults::CrashRecovery, resilience);
            let byzantine = claims(Faults::Byzantine, resilience);
            assert_eq!(crash.tolerated(n), expected, "{resilience:?} of {n}");
            assert_eq!(crash.replies(n), 1);
            assert_eq!(claims(Faults::Crash, resilience).replies(n), 1);
            assert_eq!(byzantine.replies(n), expected + 1, "{resilience:?} of {n}");
        }
        assert_eq!(claims(Faults::Crash, resilience).tolerated(0), 0);
    }
}
