//! Scenarios for twins: round by round, which instances hear each other and which of them leads (Bano and others 2021, §4).
//!
//! Instances are counted from 0: first one for each node in the order of the nodes, then the further instances of the
//! Byzantine nodes, in the order in which the plan names them.
//!
//! A scenario can be drawn at random, or all small ones can be enumerated. Then of those that differ only by the names of
//! correct nodes (or of the instances of one node) one is kept: the smallest.

use crate::random::{MILLION, Stream};
use consensus_core::NodeId;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// Who hears whom, round by round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scenario {
    /// The rounds; after the last one the first comes again.
    pub rounds: Vec<Round>,
    /// How long a round lasts.
    pub round: Duration,
    /// Whose links the partitions cut.
    pub severs: Severs,
}

/// One round.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Round {
    /// The side of each instance: those of one side hear each other. An instance that is not named is on side 0.
    pub sides: Vec<u8>,
    /// The instance whose turn it is: the timers of all others stand still, so that nobody else runs for leadership. `None`:
    /// all timers run.
    pub leader: Option<usize>,
}

/// Whose links the partitions of a scenario cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Severs {
    /// Everybody's, as in the paper. In the calm, links between correct nodes are whole all the same.
    Everyone,
    /// Only those of Byzantine instances: each talks with another part of the correct nodes, who hear each other.
    Traitors,
}

impl Round {
    /// Everybody hears everybody, and all timers run.
    #[must_use]
    pub fn whole(hosts: usize) -> Self {
        Self { sides: vec![0; hosts], leader: None }
    }

    /// Whether these two instances are on one side.
    #[must_use]
    pub fn joins(&self, one: usize, other: usize) -> bool {
        let side = |host: usize| self.sides.get(host).copied().unwrap_or_default();
        side(one) == side(other)
    }

    /// The round with the instances renamed, `names[i]` for `i`, and the sides in the order in which they first occur.
    fn renamed(&self, names: &[usize]) -> Self {
        let mut sides = vec![0; self.sides.len()];
        for (&side, &name) in self.sides.iter().zip(names) {
            if let Some(place) = sides.get_mut(name) {
                *place = side;
            }
        }
        let leader = self.leader.and_then(|leader| names.get(leader).copied());
        Self { sides: in_order(&sides), leader }
    }
}

/// The sides, numbered in the order in which they first occur.
fn in_order(sides: &[u8]) -> Vec<u8> {
    let mut seen = Vec::new();
    let number = |side: &u8| {
        let place = seen.iter().position(|known| known == side).unwrap_or_else(|| {
            seen.push(*side);
            seen.len() - 1
        });
        u8::try_from(place).unwrap_or(u8::MAX)
    };
    sides.iter().map(number).collect()
}

impl Scenario {
    /// A random scenario for this many instances.
    #[must_use]
    pub fn draw(hosts: usize, draw: &mut Stream) -> Self {
        let count = draw.between(2, 16);
        let rounds = (0..count)
            .map(|_| {
                let sides = *draw.pick(&[1, 2, 2, 3]).unwrap_or(&2);
                let sides = (0..hosts).map(|_| u8::try_from(draw.below(sides)).unwrap_or_default()).collect();
                let leader = draw.index(hosts);
                Round { sides, leader: draw.chance(MILLION / 3).then_some(leader) }
            })
            .collect();
        let round = Duration::from_millis(draw.between(20, 800));
        let severs = if draw.chance(MILLION / 2) { Severs::Everyone } else { Severs::Traitors };
        Self { rounds, round, severs }
    }
}

/// Which scenarios to enumerate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// How many nodes.
    pub nodes: usize,
    /// Which of them have a twin.
    pub twins: Vec<NodeId>,
    /// Nodes that the protocol singles out (a fixed sender): they keep their names.
    pub singled_out: Vec<NodeId>,
    /// The most sides of a partition.
    pub sides: u8,
    /// How many rounds.
    pub rounds: usize,
    /// Whether a round may name its leader.
    pub leaders: bool,
}

impl Scope {
    /// How many instances there are.
    #[must_use]
    pub const fn hosts(&self) -> usize {
        self.nodes + self.twins.len()
    }

    /// Every round: all partitions into at most so many sides, with each leader and without.
    fn kinds(&self) -> Vec<Round> {
        let mut partitions = vec![Vec::new()];
        for _ in 0..self.hosts() {
            let longer = |sides: &Vec<u8>| {
                let next = sides.iter().max().map_or(0, |most| most + 1);
                let with = |side: u8| sides.iter().copied().chain([side]).collect::<Vec<u8>>();
                (0..=next).filter(|&side| side < self.sides.max(1)).map(with).collect::<Vec<_>>()
            };
            partitions = partitions.iter().flat_map(longer).collect();
        }
        let leaders = if self.leaders { self.hosts() } else { 0 };
        let leaders = || core::iter::once(None).chain((0..leaders).map(Some));
        let with_leaders =
            |sides: Vec<u8>| leaders().map(move |leader| Round { sides: sides.clone(), leader });
        partitions.into_iter().flat_map(with_leaders).collect()
    }

    /// Every renaming that changes nothing that matters: of correct nodes among themselves, of nodes with a twin among
    /// themselves, of the two instances of one node.
    fn symmetries(&self) -> Vec<Vec<usize>> {
        let index = |node: &NodeId| usize::try_from(node.0).ok()?.checked_sub(1);
        let twins: Vec<usize> = self.twins.iter().filter_map(index).collect();
        let fixed: Vec<usize> = self.singled_out.iter().filter_map(index).collect();
        let alike: Vec<usize> =
            (0..self.nodes).filter(|node| !twins.contains(node) && !fixed.contains(node)).collect();
        let free: Vec<usize> = (0..twins.len())
            .filter(|&twin| twins.get(twin).is_none_or(|node| !fixed.contains(node)))
            .collect();
        let mut symmetries = Vec::new();
        for correct in permutations(&alike) {
            for pairs in permutations(&free) {
                for swaps in 0..1_u32 << twins.len() {
                    let mut names: Vec<usize> = (0..self.hosts()).collect();
                    rename(&mut names, &alike, &correct);
                    for (place, &from) in (0..twins.len()).zip(&renamed_pairs(twins.len(), &free, &pairs)) {
                        let (Some(&first), Some(&node)) = (twins.get(place), twins.get(from)) else {
                            continue;
                        };
                        let (one, other) = (node, self.nodes + from);
                        let swapped = swaps >> place & 1 == 1;
                        let (to, also) = if swapped { (other, one) } else { (one, other) };
                        rename(&mut names, &[first, self.nodes + place], &[to, also]);
                    }
                    symmetries.push(names);
                }
            }
        }
        symmetries
    }
}

/// Which pair each pair becomes.
fn renamed_pairs(count: usize, free: &[usize], pairs: &[usize]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..count).collect();
    rename(&mut places, free, pairs);
    places
}

fn rename(names: &mut [usize], from: &[usize], to: &[usize]) {
    for (&from, &to) in from.iter().zip(to) {
        if let Some(name) = names.get_mut(from) {
            *name = to;
        }
    }
}

fn permutations(items: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for &item in items {
        let with = |shorter: &Vec<usize>| {
            (0..=shorter.len())
                .map(|place| {
                    let mut longer = shorter.clone();
                    longer.insert(place, item);
                    longer
                })
                .collect::<Vec<_>>()
        };
        all = all.iter().flat_map(with).collect();
    }
    all
}

/// All scenarios of a scope, but for those that are another one with other names. It holds every renaming of every round in
/// memory: meant for up to seven nodes.
#[derive(Clone, Debug)]
pub struct Scenarios {
    kinds: Vec<Round>,
    /// For each symmetry, what each kind of round becomes.
    images: Vec<Vec<usize>>,
    /// The kind of each round; `None` at the end.
    next: Option<Vec<usize>>,
}

impl Scenarios {
    /// The scenarios of `scope`.
    #[must_use]
    pub fn new(scope: &Scope) -> Self {
        let kinds = scope.kinds();
        let place = |round: &Round| kinds.binary_search(round).unwrap_or_default();
        // `None` sorts before `Some`, and sides in the order of their enumeration.
        debug_assert!(kinds.is_sorted(), "the kinds are enumerated in order");
        let image = |names: &Vec<usize>| kinds.iter().map(|kind| place(&kind.renamed(names))).collect();
        let images = scope.symmetries().iter().map(image).collect();
        Self { images, kinds, next: Some(vec![0; scope.rounds]) }
    }

    /// How many scenarios there are before any is left out.
    #[must_use]
    pub fn raw(&self) -> u128 {
        let rounds = self.next.as_ref().map_or(0, Vec::len);
        (self.kinds.len() as u128).saturating_pow(u32::try_from(rounds).unwrap_or(u32::MAX))
    }

    fn is_smallest(&self, rounds: &[usize]) -> bool {
        self.images.iter().all(|image| {
            let renamed = rounds.iter().map(|&kind| image.get(kind).copied().unwrap_or(kind));
            rounds.iter().copied().le(renamed)
        })
    }

    fn step(&mut self) -> Option<Vec<usize>> {
        let current = self.next.clone()?;
        let mut following = current.clone();
        let mut carried = true;
        for digit in following.iter_mut().rev() {
            *digit += 1;
            if *digit < self.kinds.len() {
                carried = false;
                break;
            }
            *digit = 0;
        }
        self.next = (!carried).then_some(following);
        Some(current)
    }
}

impl Iterator for Scenarios {
    type Item = Vec<Round>;

    fn next(&mut self) -> Option<Vec<Round>> {
        loop {
            let rounds = self.step()?;
            if self.is_smallest(&rounds) {
                return Some(rounds.iter().filter_map(|&kind| self.kinds.get(kind).cloned()).collect());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn scope(nodes: usize, twins: &[u64], sides: u8, rounds: usize, leaders: bool) -> Scope {
        let twins = twins.iter().copied().map(NodeId).collect();
        Scope { nodes, twins, singled_out: Vec::new(), sides, rounds, leaders }
    }

    #[test]
    fn one_of_each_class_of_scenarios_is_kept() {
        for scope in [scope(4, &[1], 2, 1, true), scope(3, &[2], 3, 2, true), scope(4, &[1, 3], 2, 1, true)] {
            let all = Scenarios { images: Vec::new(), ..Scenarios::new(&scope) };
            let kept: BTreeSet<Vec<Round>> = Scenarios::new(&scope).collect();
            let symmetries = scope.symmetries();
            let mut classes = BTreeSet::new();
            for rounds in all {
                let renamed = symmetries
                    .iter()
                    .map(|names| rounds.iter().map(|round| round.renamed(names)).collect::<Vec<_>>());
                let class: BTreeSet<_> = renamed.collect();
                assert!(class.contains(&rounds), "doing nothing is a symmetry");
                assert_eq!(class.intersection(&kept).count(), 1, "{rounds:?}");
                classes.insert(class);
            }
            assert_eq!(classes.len(), kept.len());
        }
    }

    #[test]
    fn the_number_of_scenarios_is_what_counting_says() {
        // Five instances on at most two sides: 2⁴ partitions. Of the three correct nodes only their number on each side
        // matters, and the instances may change places: 4 counts × 2, less the 0 that changing places joins.
        let scenarios = Scenarios::new(&scope(4, &[1], 2, 1, false));
        assert_eq!(scenarios.raw(), 16);
        // The instances together: 0 to 3 correct nodes on the other side. Apart: {0, 3} or {1, 2} beside either.
        assert_eq!(scenarios.count(), 4 + 2);
        // Three sides of three instances: Bell's number 5; n2 and n2′ may change places, n1 keeps to itself.
        assert_eq!(Scenarios::new(&scope(2, &[2], 3, 1, false)).raw(), 5);
        assert_eq!(Scenarios::new(&scope(2, &[2], 3, 1, false)).count(), 4);
        // With leaders, and two rounds: (16 × 6)².
        assert_eq!(Scenarios::new(&scope(4, &[1], 2, 2, true)).raw(), 9_216);
    }

    #[test]
    fn a_node_that_is_singled_out_keeps_its_name() {
        let all_alike = scope(4, &[4], 2, 1, false);
        let sender = Scope { singled_out: vec![NodeId(1)], ..all_alike.clone() };
        assert!(Scenarios::new(&sender).count() > Scenarios::new(&all_alike).count());
    }

    #[test]
    fn random_scenarios_name_every_instance() {
        let draw = &mut Stream::derive(3, "scenario");
        for _ in 0..50 {
            let scenario = Scenario::draw(9, draw);
            assert!(scenario.rounds.iter().all(|round| round.sides.len() == 9));
            assert!(scenario.rounds.iter().all(|round| round.leader.is_none_or(|leader| leader < 9)));
        }
    }
}
