//! The judges of a run: they see what every node applies, in any boot, and know what must never happen. What is judged for
//! every problem is here; each problem has a judge of its own beside.

mod atomic;
mod blocking;
mod convergence;
mod log;
mod measures;
mod one_shot;
mod property;

pub use atomic::AtomicMeasures;
pub use convergence::ConvergenceMeasures;
pub use measures::Measures;
pub use one_shot::OneShotMeasures;
pub use property::{Failure, Property};

pub(crate) use atomic::AtomicJudge;
pub(crate) use convergence::ConvergenceJudge;

use crate::machine::Applied;
use crate::watch::Decided;
use consensus_core::{Epoch, NodeId, Problem, ProposalId, Slot, Status, Time, Verdict};
use log::LogJudge;
use one_shot::OneShotJudge;
use property::Findings;
use std::collections::{BTreeMap, VecDeque};

/// What a node has said of itself since its boot.
#[derive(Clone, Copy, Debug, Default)]
struct Statement {
    decided: Slot,
    epoch: Epoch,
}

#[derive(Debug)]
enum Judge {
    Log(LogJudge),
    OneShot(OneShotJudge),
    AtomicCommit(AtomicJudge),
    Convergence(ConvergenceJudge),
}

/// The judge.
#[derive(Debug)]
pub struct Oracle {
    judge: Judge,
    statements: BTreeMap<NodeId, Statement>,
    found: Findings,
}

impl Oracle {
    /// A judge of this problem who has seen nothing.
    #[must_use]
    pub fn new(problem: Problem) -> Self {
        let judge = match problem {
            Problem::Log => Judge::Log(LogJudge::default()),
            Problem::Convergence => Judge::Convergence(ConvergenceJudge::default()),
            Problem::OneShot => Judge::OneShot(OneShotJudge::default()),
            Problem::AtomicCommit => Judge::AtomicCommit(AtomicJudge::default()),
        };
        Self { judge, statements: BTreeMap::new(), found: Findings::default() }
    }

    /// The first failure.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        if let Some(failure) = self.found.first() {
            return Some(failure);
        }
        match &self.judge {
            Judge::Log(judge) => judge.failure(),
            Judge::OneShot(judge) => judge.failure(),
            Judge::AtomicCommit(judge) => judge.failure(),
            Judge::Convergence(judge) => judge.failure(),
        }
    }

    /// Notes a failure, unless there was one before.
    pub fn fail(&mut self, property: Property, at: Time, detail: impl Into<String>) {
        if self.failure().is_none() {
            self.found.fail(property, at, detail);
        }
    }

    /// The last slot of the log that any node has applied; zero for other problems.
    #[must_use]
    pub fn last(&self) -> Slot {
        self.log().map(LogJudge::last).unwrap_or_default()
    }

    /// What was decided at `slot` of the log.
    #[must_use]
    pub fn decided(&self, slot: Slot) -> Option<&Decided> {
        self.log()?.decided(slot)
    }

    /// Where in the log the command took effect.
    #[must_use]
    pub fn effective(&self, id: ProposalId) -> Option<Slot> {
        self.log()?.effective(id)
    }

    /// How many decisions there were: slots of a log, nodes that decided in one-shot agreement.
    #[must_use]
    pub fn decisions(&self) -> u64 {
        match &self.judge {
            Judge::Log(judge) => judge.last().0,
            Judge::OneShot(judge) => judge.decisions(),
            Judge::AtomicCommit(judge) => judge.decisions(),
            Judge::Convergence(judge) => judge.decisions(),
        }
    }

    /// How many epochs of the log have had a leader.
    #[must_use]
    pub fn leaderships(&self) -> usize {
        self.log().map(LogJudge::leaderships).unwrap_or_default()
    }

    const fn log(&self) -> Option<&LogJudge> {
        match &self.judge {
            Judge::Log(judge) => Some(judge),
            Judge::OneShot(_) | Judge::AtomicCommit(_) | Judge::Convergence(_) => None,
        }
    }

    /// The judge of transactions, if the problem is atomic commitment.
    pub(crate) const fn atomic(&self) -> Option<&AtomicJudge> {
        match &self.judge {
            Judge::AtomicCommit(judge) => Some(judge),
            Judge::Log(_) | Judge::OneShot(_) | Judge::Convergence(_) => None,
        }
    }

    /// The judge of writes, if the problem is convergence.
    pub(crate) const fn convergence(&self) -> Option<&ConvergenceJudge> {
        match &self.judge {
            Judge::Convergence(judge) => Some(judge),
            Judge::Log(_) | Judge::OneShot(_) | Judge::AtomicCommit(_) => None,
        }
    }

    /// Leaves the causal order of deliveries to those who judge what clients saw.
    pub(crate) const fn ignore_order(&mut self) {
        match &mut self.judge {
            Judge::Convergence(judge) => judge.ignore_order(),
            Judge::Log(_) | Judge::OneShot(_) | Judge::AtomicCommit(_) => {}
        }
    }

    /// `node` is handed a write, of convergence.
    pub(crate) fn on_accepted(&mut self, node: NodeId, id: ProposalId, payload: &[u8]) {
        match &mut self.judge {
            Judge::Convergence(judge) => judge.on_accepted(node, id, payload),
            Judge::Log(_) | Judge::OneShot(_) | Judge::AtomicCommit(_) => {}
        }
    }

    /// From now on nothing fails: this transaction, which all can accept, must be committed.
    pub(crate) fn expect_commit(&mut self, id: ProposalId) {
        match &mut self.judge {
            Judge::AtomicCommit(judge) => judge.expect_commit(id),
            Judge::Log(_) | Judge::OneShot(_) | Judge::Convergence(_) => {}
        }
    }

    /// `node` only looks at something for this transaction: it may give that back without a verdict.
    pub(crate) fn expect_no_verdict(&mut self, id: ProposalId, node: NodeId) {
        match &mut self.judge {
            Judge::AtomicCommit(judge) => judge.expect_no_verdict(id, node),
            Judge::Log(_) | Judge::OneShot(_) | Judge::Convergence(_) => {}
        }
    }

    /// Whether `node` has decided since its boot, in one-shot agreement.
    #[must_use]
    pub fn has_decided(&self, node: NodeId) -> bool {
        match &self.judge {
            Judge::Log(_) | Judge::AtomicCommit(_) | Judge::Convergence(_) => false,
            Judge::OneShot(judge) => judge.has_decided(node),
        }
    }

    /// A client was told this verdict on its transaction.
    pub(crate) fn on_told(&mut self, now: Time, id: ProposalId, verdict: Verdict) {
        match &mut self.judge {
            Judge::AtomicCommit(judge) => judge.on_told(now, id, verdict),
            Judge::Log(_) | Judge::OneShot(_) | Judge::Convergence(_) => {}
        }
    }

    /// What was measured beside the verdict, up to now.
    #[must_use]
    pub fn measures(&self, now: Time) -> Measures {
        match &self.judge {
            Judge::Log(_) => Measures::Log,
            Judge::OneShot(judge) => Measures::OneShot(judge.measures()),
            Judge::AtomicCommit(judge) => Measures::AtomicCommit(judge.measures(now)),
            Judge::Convergence(judge) => Measures::Convergence(judge.measures()),
        }
    }

    /// A client proposes.
    pub fn on_proposed(&mut self, id: ProposalId, payload: &[u8]) {
        match &mut self.judge {
            Judge::Log(judge) => judge.on_proposed(id, payload),
            Judge::OneShot(judge) => judge.on_proposed(payload),
            Judge::AtomicCommit(judge) => judge.on_proposed(id, payload),
            // What a write depends on is known only where it is accepted.
            Judge::Convergence(_) => {}
        }
    }

    /// `node` starts anew: what it applies from now on, it applies in this boot.
    pub fn on_boot(&mut self, now: Time, node: NodeId) {
        self.statements.insert(node, Statement::default());
        match &mut self.judge {
            Judge::Log(judge) => judge.on_boot(node),
            Judge::OneShot(judge) => judge.on_boot(node),
            Judge::AtomicCommit(judge) => judge.on_boot(now, node),
            Judge::Convergence(judge) => judge.on_boot(node),
        }
    }

    /// `node` has crashed or stopped.
    pub fn on_down(&mut self, now: Time, node: NodeId) {
        match &mut self.judge {
            Judge::Log(_) | Judge::Convergence(_) => {}
            Judge::OneShot(judge) => judge.on_boot(node),
            Judge::AtomicCommit(judge) => judge.on_down(now, node),
        }
    }

    /// Notes what `node` applied: `decisions` as it emitted them, `journal` as its state machine carried them out. Of a log,
    /// what is beyond `applied` stays in `decisions`: it waits for the node's disk.
    pub fn on_applied(
        &mut self,
        now: Time,
        node: NodeId,
        decisions: &mut VecDeque<Decided>,
        journal: &mut Vec<Applied>,
        applied: Slot,
    ) {
        match &mut self.judge {
            Judge::Log(judge) => judge.on_applied(now, node, decisions, journal, applied),
            // Without an order for all, what the state machine saw tells everything.
            Judge::OneShot(judge) => judge.on_applied(now, node, journal),
            Judge::AtomicCommit(judge) => judge.on_applied(now, node, journal),
            Judge::Convergence(judge) => judge.on_applied(now, node, journal),
        }
        while decisions.pop_front_if(|decided| decided.slot <= applied).is_some() {}
    }

    /// Notes what `node` says of itself.
    pub fn on_status(&mut self, now: Time, node: NodeId, status: &Status) {
        let before = self.statements.entry(node).or_default();
        let Statement { decided, epoch } = *before;
        *before = Statement { decided: decided.max(status.decided), epoch: epoch.max(status.epoch) };
        if status.decided < decided || status.epoch < epoch {
            let detail = format!(
                "{node} went back from {decided} in {epoch} to {} in {}",
                status.decided, status.epoch
            );
            self.fail(Property::Monotonic, now, detail);
        }
        match &mut self.judge {
            Judge::Log(judge) => judge.on_status(now, node, status),
            Judge::OneShot(judge) => judge.on_status(node, status),
            Judge::AtomicCommit(judge) => judge.on_status(now, node, status),
            Judge::Convergence(_) => {}
        }
    }
}
