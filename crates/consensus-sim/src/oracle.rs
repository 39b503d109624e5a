//! The judge of a run: it sees every decision that any node applies, in any boot, and knows what must never happen.
//!
//! The first node to apply a slot defines what is decided there, for good: every other node, and the same node after a
//! restart, must apply the same. Since nothing is ever taken out of that record, an acknowledged command that a power loss
//! swallows shows as soon as its slot is filled anew, or when the nodes fail to reach it again.

use crate::machine::Applied;
use crate::trace::hash_bytes;
use crate::watch::Decided;
use consensus_core::{Epoch, NodeId, ProposalId, Role, Slot, Status, Time, Verdict};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Property {
    /// No two nodes decide differently in one slot, in any boot.
    Agreement,
    /// Slots are applied in order, without gaps.
    PrefixOrder,
    /// What is decided was proposed, and a proposal made once is decided once.
    Integrity,
    /// A command of a session takes effect once, however often it is sent.
    ExactlyOnce,
    /// The state machines of all nodes are equal after equal slots.
    StateEqual,
    /// Members that are decided one after the other have quorums that meet.
    Members,
    /// An epoch has at most one leader.
    OneLeader,
    /// What a node knows to be decided, what it has applied and its epoch never go back while it runs.
    Monotonic,
    /// A node comes up again after every crash.
    Recovery,
    /// A node runs until it is stopped.
    NodeRuns,
    /// No correct node accuses a correct node.
    NoFalseAccusation,
    /// No assertion of the algorithm fails, and nothing panics.
    Invariant,
    /// Once the faults are over, clients get replies again within the bound.
    Progress,
    /// Once the faults are over, every live node reaches the last decision; nothing acknowledged is lost.
    Durability,
    /// There is an order of all operations that explains every reply to a client.
    Linearizable,
    /// The scheduler keeps nobody waiting beyond the bound, once there is one: without that, nothing can be said of progress.
    Fairness,
    /// The same seed gives the same run.
    Determinism,
}

impl Property {
    /// All properties, in the order of reports.
    pub const ALL: [Self; 17] = [
        Self::Agreement,
        Self::PrefixOrder,
        Self::Integrity,
        Self::ExactlyOnce,
        Self::StateEqual,
        Self::Members,
        Self::OneLeader,
        Self::Monotonic,
        Self::Recovery,
        Self::NodeRuns,
        Self::NoFalseAccusation,
        Self::Invariant,
        Self::Progress,
        Self::Durability,
        Self::Linearizable,
        Self::Fairness,
        Self::Determinism,
    ];

    /// The name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agreement => "agreement",
            Self::PrefixOrder => "prefix order",
            Self::Integrity => "integrity",
            Self::ExactlyOnce => "exactly once",
            Self::StateEqual => "equal states",
            Self::Members => "safe changes of members",
            Self::OneLeader => "one leader per epoch",
            Self::Monotonic => "monotonic within a boot",
            Self::Recovery => "recovery after a crash",
            Self::NodeRuns => "nodes run",
            Self::NoFalseAccusation => "no false accusation",
            Self::Invariant => "invariants",
            Self::Progress => "progress after healing",
            Self::Durability => "durability",
            Self::Linearizable => "linearizability",
            Self::Fairness => "fair scheduling",
            Self::Determinism => "determinism",
        }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub property: Property,
    /// When, in virtual time.
    pub at: Time,
    /// What happened, for a person.
    pub detail: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed at {}: {}", self.property, self.at, self.detail)
    }
}

/// What one node has shown since its boot.
#[derive(Clone, Debug, Default)]
struct View {
    applied: Slot,
    decided: Slot,
    epoch: Epoch,
    digest: u64,
}

/// The judge.
#[derive(Debug, Default)]
pub struct Oracle {
    log: Vec<Decided>,
    /// The digest of the state after each slot.
    digests: Vec<u64>,
    proposed: FxHashMap<ProposalId, u64>,
    effective: FxHashMap<ProposalId, Slot>,
    leaders: BTreeMap<Epoch, NodeId>,
    views: BTreeMap<NodeId, View>,
    failure: Option<Failure>,
}

impl Oracle {
    /// A judge who has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The first failure.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Notes a failure, unless there was one before.
    pub fn fail(&mut self, property: Property, at: Time, detail: impl Into<String>) {
        if self.failure.is_none() {
            self.failure = Some(Failure { property, at, detail: detail.into() });
        }
    }

    /// The last slot that any node has applied.
    #[must_use]
    pub fn last(&self) -> Slot {
        Slot(self.log.len() as u64)
    }

    /// What was decided at `slot`.
    #[must_use]
    pub fn decided(&self, slot: Slot) -> Option<&Decided> {
        self.log.get(place(slot)?)
    }

    /// Where the command took effect.
    #[must_use]
    pub fn effective(&self, id: ProposalId) -> Option<Slot> {
        self.effective.get(&id).copied()
    }

    /// How many epochs have had a leader.
    #[must_use]
    pub fn leaderships(&self) -> usize {
        self.leaders.len()
    }

    /// A client proposes.
    pub fn on_proposed(&mut self, id: ProposalId, payload: &[u8]) {
        self.proposed.insert(id, hash_bytes(0, payload));
    }

    /// `node` starts anew, with a state machine that holds everything up to `applied`.
    pub fn on_boot(&mut self, node: NodeId) {
        self.views.insert(node, View::default());
    }

    /// Notes what `node` applied: `decisions` as it emitted them, `journal` as its state machine carried them out. What is
    /// beyond `applied` stays in `decisions`: it waits for the node's disk.
    pub fn on_applied(
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
            }
        }
        self.take(now, node, &mut view, decisions, applied);
        if applied != view.applied {
            let detail =
                format!("{node} says that it applied {applied}, but it decided up to {}", view.applied);
            self.fail(Property::PrefixOrder, now, detail);
        }
        *self.views.entry(node).or_default() = view;
    }

    /// Notes what `node` says of itself.
    pub fn on_status(&mut self, now: Time, node: NodeId, status: &Status) {
        let view = self.views.entry(node).or_default();
        let (decided, epoch) = (view.decided, view.epoch);
        view.decided = decided.max(status.decided);
        view.epoch = epoch.max(status.epoch);
        if status.decided < decided || status.epoch < epoch {
            let detail = format!(
                "{node} went back from {decided} in {epoch} to {} in {}",
                status.decided, status.epoch
            );
            self.fail(Property::Monotonic, now, detail);
        }
        if status.role == Role::Leader {
            let leader = *self.leaders.entry(status.epoch).or_insert(node);
            if leader != node {
                let detail = format!("{leader} and {node} both led in {}", status.epoch);
                self.fail(Property::OneLeader, now, detail);
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
                self.fail(Property::PrefixOrder, now, detail);
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
                self.fail(Property::Agreement, now, detail);
            } else if state != digest {
                let detail = format!("after {slot}, the state of {node} differs, though all decisions agree");
                self.fail(Property::StateEqual, now, detail);
            }
            return;
        }
        if slot != self.last().next() {
            let detail = format!("{node} decided {slot} when {} was the last decision of all", self.last());
            self.fail(Property::PrefixOrder, now, detail);
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
            self.fail(Property::Integrity, now, detail);
        }
    }

    fn on_effect(&mut self, now: Time, node: NodeId, slot: Slot, id: Option<ProposalId>) {
        let Some(id) = id else { return };
        let first = *self.effective.entry(id).or_insert(slot);
        if first != slot {
            let property = if id.client.is_session() { Property::ExactlyOnce } else { Property::Integrity };
            let detail = format!("{node} carried {id:?} out at {slot}, and it had taken effect at {first}");
            self.fail(property, now, detail);
        }
    }

    fn on_installed(&mut self, now: Time, node: NodeId, view: &mut View, through: Slot, digest: u64) {
        match place(through).and_then(|place| self.digests.get(place)) {
            None => {
                let last = self.last();
                let detail = format!("{node} has a snapshot of {through}, but {last} was the last decision");
                self.fail(Property::PrefixOrder, now, detail);
            }
            Some(&state) if state != digest => {
                let detail = format!("{node} has a snapshot of {through} with another state");
                self.fail(Property::StateEqual, now, detail);
            }
            Some(_) => {}
        }
        if through < view.applied {
            let detail = format!("{node} had applied {} and installed {through}", view.applied);
            self.fail(Property::Monotonic, now, detail);
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
