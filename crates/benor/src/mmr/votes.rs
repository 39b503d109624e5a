//! The votes of one round: one of each voter in each step, whatever it says later.

use super::coin::Share;
use super::message::{Casts, Values};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use consensus_core::{NodeId, Offence};

/// The votes of a round, by distinct sender.
// [M2]
#[derive(Clone, Debug, Default)]
pub(crate) struct Votes {
    /// Who speaks for 0, and who for 1; some for both.
    est: [BTreeSet<NodeId>; 2],
    aux: BTreeMap<NodeId, bool>,
    conf: BTreeMap<NodeId, Values>,
    shares: BTreeMap<NodeId, Claim>,
}

/// A share, and whether it is one, once somebody has wanted to know.
#[derive(Clone, Copy, Debug)]
struct Claim {
    share: Share,
    is_proven: Option<bool>,
}

impl Votes {
    /// Counts what `from` has cast in this round.
    ///
    /// # Errors
    /// It has cast something else before; that stays.
    pub(crate) fn add(&mut self, from: NodeId, casts: &Casts) -> Result<(), Offence> {
        self.speak(from, casts.est);
        let claim = |share| Claim { share, is_proven: None };
        let is_same_aux = casts.aux.is_none_or(|aux| *self.aux.entry(from).or_insert(aux) == aux);
        let is_same_conf = casts.conf.is_none_or(|conf| *self.conf.entry(from).or_insert(conf) == conf);
        let is_same_share =
            casts.share.is_none_or(|share| self.shares.entry(from).or_insert(claim(share)).share == share);
        let same = [
            (is_same_aux, "two values named in one round"),
            (is_same_conf, "two sets confirmed in one round"),
            (is_same_share, "two shares of one coin"),
        ];
        let broken = same.into_iter().find(|(is_same, _)| !is_same);
        broken.map_or(Ok(()), |(_, what)| Err(Offence::Equivocation(what)))
    }

    /// Counts only for which values `from` speaks.
    pub(crate) fn speak(&mut self, from: NodeId, est: Values) {
        let [zero, one] = &mut self.est;
        for (value, speakers) in [(false, zero), (true, one)] {
            if est.contains(value) {
                speakers.insert(from);
            }
        }
    }

    /// How many speak for `value`.
    pub(crate) fn speakers(&self, value: bool) -> usize {
        let [zero, one] = &self.est;
        if value { one.len() } else { zero.len() }
    }

    /// The values that so many speak for.
    pub(crate) fn accepted(&self, needed: usize) -> Option<Values> {
        union([false, true].into_iter().filter(|&value| self.speakers(value) >= needed).map(Values::only))
    }

    /// How many have named one of the accepted values, and which of them were named.
    pub(crate) fn named(&self, accepted: Values) -> (usize, Option<Values>) {
        let named = self.aux.values().map(|&value| Values::only(value));
        within(named, accepted)
    }

    /// How many have confirmed nothing but accepted values, and which values those are.
    pub(crate) fn confirmed(&self, accepted: Values) -> (usize, Option<Values>) {
        within(self.conf.values().copied(), accepted)
    }

    /// So many proven shares, if there are; none is looked at twice, and none beyond. `forged` is told of those that prove nothing.
    // [M6]
    pub(crate) fn shares(
        &mut self,
        needed: usize,
        is_proven: impl Fn(NodeId, &Share) -> bool,
        mut forged: impl FnMut(NodeId),
    ) -> Option<Vec<(NodeId, Share)>> {
        let mut proven = Vec::new();
        for (&member, claim) in &mut self.shares {
            if proven.len() == needed {
                break;
            }
            let is_news = claim.is_proven.is_none();
            let holds = *claim.is_proven.get_or_insert_with(|| is_proven(member, &claim.share));
            if holds {
                proven.push((member, claim.share));
            } else if is_news {
                forged(member);
            }
        }
        (proven.len() == needed).then_some(proven)
    }

    /// Our own share needs no proof.
    pub(crate) fn trust(&mut self, own: NodeId) {
        if let Some(claim) = self.shares.get_mut(&own) {
            claim.is_proven = Some(true);
        }
    }

    /// The round is over for us: only who speaks for what may still matter to others.
    // [M10]
    pub(crate) fn close(&mut self) {
        self.aux.clear();
        self.conf.clear();
        self.shares.clear();
    }

    pub(crate) fn has_named(&self, voter: NodeId) -> bool {
        self.aux.contains_key(&voter)
    }

    /// The most votes in any step.
    pub(crate) fn most(&self) -> usize {
        let est = self.est.iter().map(BTreeSet::len);
        est.chain([self.aux.len(), self.conf.len(), self.shares.len()]).max().unwrap_or(0)
    }
}

fn within(votes: impl Iterator<Item = Values>, accepted: Values) -> (usize, Option<Values>) {
    let counted: Vec<Values> = votes.filter(|values| values.are_within(accepted)).collect();
    (counted.len(), union(counted.into_iter()))
}

fn union(values: impl Iterator<Item = Values>) -> Option<Values> {
    values.reduce(Values::with)
}
