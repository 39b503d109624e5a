//! The judge of one-shot agreement: one choice, made for good.
//!
//! Agreement is uniform: what a node decided counts, whatever becomes of the node. A restarted node may report its decision
//! again (its state machine is new), and it must be the same one.

use super::property::{Failure, Findings, Property};
use crate::machine::Applied;
use bytes::Bytes;
use consensus_core::{NodeId, Slot, Status, Time, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// What was seen of the decisions of a run, or of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OneShotMeasures {
    /// How many nodes decided in each round (the epoch that a node shows when it has decided), in their first boot to do so.
    pub rounds: BTreeMap<u64, u64>,
    /// How many runs chose each value.
    pub chosen: BTreeMap<Bytes, u64>,
    /// Runs in which every proposal was the same.
    pub unanimous: u64,
}

impl OneShotMeasures {
    pub(super) fn add(&mut self, other: &Self) {
        for (&round, count) in &other.rounds {
            *self.rounds.entry(round).or_default() += count;
        }
        for (value, count) in &other.chosen {
            *self.chosen.entry(value.clone()).or_default() += count;
        }
        self.unanimous += other.unanimous;
    }
}

/// The judge.
#[derive(Debug, Default)]
pub(super) struct OneShotJudge {
    proposed: BTreeSet<Bytes>,
    /// Who was the first to decide, and what.
    decision: Option<(NodeId, Bytes)>,
    /// Who has decided in its present boot.
    decided: BTreeSet<NodeId>,
    /// The round in which each node decided first, as soon as it has shown it.
    rounds: BTreeMap<NodeId, Option<u64>>,
    found: Findings,
}

impl OneShotJudge {
    pub(super) const fn failure(&self) -> Option<&Failure> {
        self.found.first()
    }

    /// Whether `node` has decided since its boot.
    pub(super) fn has_decided(&self, node: NodeId) -> bool {
        self.decided.contains(&node)
    }

    pub(super) fn decisions(&self) -> u64 {
        self.rounds.len() as u64
    }

    pub(super) fn on_proposed(&mut self, value: &[u8]) {
        self.proposed.insert(Bytes::copy_from_slice(value));
    }

    /// `node` starts anew, or goes down: in either case it has decided nothing since.
    pub(super) fn on_boot(&mut self, node: NodeId) {
        self.decided.remove(&node);
    }

    pub(super) fn on_applied(&mut self, now: Time, node: NodeId, journal: &mut Vec<Applied>) {
        for entry in journal.drain(..) {
            match entry {
                Applied::Chosen { slot, verdict, value } => self.on_chosen(now, node, slot, verdict, value),
                // Of other machines than a choice.
                Applied::Command { .. }
                | Applied::Installed { .. }
                | Applied::Judged { .. }
                | Applied::Settled { .. }
                | Applied::Restored { .. }
                | Applied::Delivered { .. }
                | Applied::Merged { .. } => {}
            }
        }
    }

    fn on_chosen(&mut self, now: Time, node: NodeId, slot: Slot, verdict: Verdict, value: Bytes) {
        if slot != Slot(1) || verdict != Verdict::Commit {
            let detail =
                format!("{node} decided {verdict:?} at {slot}: one-shot agreement commits at {}", Slot(1));
            self.found.fail(Property::Integrity, now, detail);
        }
        if !self.decided.insert(node) {
            let detail = format!("{node} decided {value:?}, and had decided before");
            self.found.fail(Property::Integrity, now, detail);
        }
        self.rounds.entry(node).or_default();
        match &self.decision {
            Some((first, choice)) if *choice != value => {
                let detail = format!("{node} decided {value:?}, and {first} had decided {choice:?}");
                self.found.fail(Property::Agreement, now, detail);
            }
            Some(_) => {}
            None => {
                if !self.proposed.contains(&value) {
                    let detail = format!("{node} decided {value:?}; proposed was only {:?}", self.proposed);
                    self.found.fail(Property::Validity, now, detail);
                }
                self.decision = Some((node, value));
            }
        }
    }

    pub(super) fn on_status(&mut self, node: NodeId, status: &Status) {
        if let Some(round) = self.rounds.get_mut(&node).filter(|round| round.is_none()) {
            *round = Some(status.epoch.0);
        }
    }

    pub(super) fn measures(&self) -> OneShotMeasures {
        let mut measures =
            OneShotMeasures { unanimous: u64::from(self.proposed.len() == 1), ..Default::default() };
        for round in self.rounds.values().flatten() {
            *measures.rounds.entry(*round).or_default() += 1;
        }
        if let Some((_, choice)) = &self.decision {
            measures.chosen.insert(choice.clone(), 1);
        }
        measures
    }
}
