//! The judge of a log: every node applies the same decisions in the same order.
//!
//! The first node to apply a slot defines what is decided there, for good: every other node, and the same node after a
//! restart, must apply the same. Since nothing is ever taken out of that record, an acknowledged command that a power loss
//! swallows shows as soon as its slot is filled anew, or when the nodes fail to reach it again.

use super::property::{Failure, Findings, Property};
use crate::machine::Applied;
use crate::trace::hash_bytes;
use crate::watch::Decided;
use consensus_core::{Epoch, NodeId, ProposalId, Role, Slot, Status, Time, Verdict};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, VecDeque};

/// What one node has shown since its boot.
#[derive(Clone, Debug, Default)]
struct View {
    applied: Slot,
    digest: u64,
}

/// The judge.
#[derive(Debug, Default)]
pub(super) struct LogJudge {
    log: Vec<Decided>,
    /// The digest of the state after each slot.
    digests: Vec<u64>,
    proposed: FxHashMap<ProposalId, u64>,
    effective: FxHashMap<ProposalId, Slot>,
    leaders: BTreeMap<Epoch, NodeId>,
    views: BTreeMap<NodeId, View>,
    found: Findings,
}

impl LogJudge {
    /// The last slot that any node has applied.
    #[must_use]
    pub(super) fn last(&self) -> Slot {
        Slot(self.log.len() as u64)
    }

    /// What was decided at `slot`.
    #[must_use]
    pub(super) fn decided(&self, slot: Slot) -> Option<&Decided> {
        self.log.get(place(slot)?)
    }

    /// Where the command took effect.
    #[must_use]
    pub(super) fn effective(&self, id: ProposalId) -> Option<Slot> {
        self.effective.get(&id).copied()
    }

    /// How many epochs have had a leader.
    #[must_use]
    pub(super) fn leaderships(&self) -> usize {
        self.leaders.len()
    }

    /// A client proposes.
    pub(super) fn on_proposed(&mut self, id: ProposalId, payload: &[u8]) {
        self.proposed.insert(id, hash_bytes(0, payload));
    }

    /// `node` starts anew, with a state machine that holds everything up to `applied`.
    pub(super) fn on_boot(&mut self, node: NodeId) {
        self.views.insert(node, View::default());
    }

    pub(super) const fn failure(&self) -> Option<&Failure> {
        self.found.first()
    }

    /// Notes what `node` applied: `decisions` as it emitted them, `journal` as its state machine carried them out. What is
    /// beyond `applied` stays in `decisions`: it waits for the node's disk.
    pub(super) fn on_applied(
        &mut self,
        now: Time,
        node: NodeId,
        decisions: &mut VecDeque<Decided>,
        journal: &mut Vec<Applied>,
        applied: Slot,
    ) {
        let mut view = self.views.get_mut(&node).map(core::mem::take).unwrap_or_default();
        for entry in journal.drain(..) {
            match entry {
                Applied::Command { slot, id, answer: _, digest } => {
                    self.take(now, node, &mut view, decisions, Slot(slot.0.saturating_sub(1)));
                    view.digest = digest;
                    self.take(now, node, &mut view, decisions, slot);
                    self.on_effect(now, node, slot, id);
                }
                Applied::Installed { through, digest } => {
                    self.take(now, node, &mut view, decisions, through);
                    self.on_installed(now, node, &mut view, through, digest);
                }
                // Of other machines than a log's.
                Applied::Chosen { .. }
                | Applied::Judged { .. }
                | Applied::Settled { .. }
                | Applied::Restored { .. }
                | Applied::Delivered { .. }
                | Applied::Merged { .. } => {}
            }
        }
        self.take(now, node, &mut view, decisions, applied);
        if applied != view.applied {
            let detail =
                format!("{node} says that it applied {applied}, but it decided up to {}", view.applied);
            self.found.fail(Property::PrefixOrder, now, detail);
        }
        *self.views.entry(node).or_default() = view;
    }

    /// Notes who leads.
    pub(super) fn on_status(&mut self, now: Time, node: NodeId, status: &Status) {
        if status.role == Role::Leader {
            let leader = *self.leaders.entry(status.epoch).or_insert(node);
            if leader != node {
                let detail = format!("{leader} and {node} both led in {}", status.epoch);
                self.found.fail(Property::OneLeader, now, detail);
            }
        }
    }

    /// Takes the decisions up to `through` as applied.
    fn take(
        &mut self,
        now: Time,
        node: NodeId,
        view: &mut View,
        decisions: &mut VecDeque<Decided>,
        through: Slot,
    ) {
        while let Some(decided) = decisions.pop_front_if(|decided| decided.slot <= through) {
            if decided.slot <= view.applied {
                let detail = format!("{node} decided {} again, after {}", decided.slot, view.applied);
                self.found.fail(Property::PrefixOrder, now, detail);
            }
            view.applied = decided.slot;
            self.on_decided(now, node, decided, view.digest);
        }
    }

    fn on_decided(&mut self, now: Time, node: NodeId, decided: Decided, digest: u64) {
        let slot = decided.slot;
        let known = place(slot).and_then(|place| Some((self.log.get(place)?, *self.digests.get(place)?)));
        if let Some((first, state)) = known {
            if *first != decided {
                let detail = format!(
                    "at {slot}, {node} decided {}, but before it was {}",
                    describe(&decided),
                    describe(first)
                );
                self.found.fail(Property::Agreement, now, detail);
            } else if state != digest {
                let detail = format!("after {slot}, the state of {node} differs, though all decisions agree");
                self.found.fail(Property::StateEqual, now, detail);
            }
            return;
        }
        if slot != self.last().next() {
            let detail = format!("{node} decided {slot} when {} was the last decision of all", self.last());
            self.found.fail(Property::PrefixOrder, now, detail);
            return;
        }
        self.check_proposed(now, node, &decided);
        self.log.push(decided);
        self.digests.push(digest);
    }

    fn check_proposed(&mut self, now: Time, node: NodeId, decided: &Decided) {
        let honest = match (decided.verdict, decided.id) {
            (Verdict::Noop, _) => true,
            (Verdict::Commit | Verdict::Abort, None) => false,
            (Verdict::Commit | Verdict::Abort, Some(id)) => {
                self.proposed.get(&id) == Some(&hash_bytes(0, &decided.payload))
            }
        };
        if !honest {
            let detail = format!("{node} decided {}, which nobody proposed", describe(decided));
            self.found.fail(Property::Integrity, now, detail);
        }
    }

    fn on_effect(&mut self, now: Time, node: NodeId, slot: Slot, id: Option<ProposalId>) {
        let Some(id) = id else { return };
        let first = *self.effective.entry(id).or_insert(slot);
        if first != slot {
            let property = if id.client.is_session() { Property::ExactlyOnce } else { Property::Integrity };
            let detail = format!("{node} carried {id:?} out at {slot}, and it had taken effect at {first}");
            self.found.fail(property, now, detail);
        }
    }

    fn on_installed(&mut self, now: Time, node: NodeId, view: &mut View, through: Slot, digest: u64) {
        match place(through).and_then(|place| self.digests.get(place)) {
            None => {
                let last = self.last();
                let detail = format!("{node} has a snapshot of {through}, but {last} was the last decision");
                self.found.fail(Property::PrefixOrder, now, detail);
            }
            Some(&state) if state != digest => {
                let detail = format!("{node} has a snapshot of {through} with another state");
                self.found.fail(Property::StateEqual, now, detail);
            }
            Some(_) => {}
        }
        if through < view.applied {
            let detail = format!("{node} had applied {} and installed {through}", view.applied);
            self.found.fail(Property::Monotonic, now, detail);
        }
        view.applied = through;
        view.digest = digest;
    }
}

fn place(slot: Slot) -> Option<usize> {
    usize::try_from(slot.0.checked_sub(1)?).ok()
}

fn describe(decided: &Decided) -> String {
    let digest = hash_bytes(0, &decided.payload);
    format!("{:?} of {:?} ({} bytes, {digest:x})", decided.verdict, decided.id, decided.payload.len())
}
