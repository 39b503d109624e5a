//! The learner: what is known to be chosen, and handing it over.
//!
//! A slot is known to be chosen if it was learnt from somebody who knew, or if the leader of a ballot says so of slots up to a
//! mark, and the slot was accepted *in that very ballot*: then it holds what that leader proposed. What was accepted in another
//! ballot may be something else, whatever the mark says.
//!
//! Invariant: the log holds everything from its base to `chosen`, without a hole.

use crate::ballot::Ballot;
use crate::log::{CHOSEN, Log};
use crate::mutant::Mutant;
use crate::state::Core;
use crate::step::Out;
use crate::value::may_stop;
use consensus_core::{Decision, Slot};

/// What is known to be chosen.
#[derive(Clone, Debug)]
pub(crate) struct Learner {
    /// Everything up to here is.
    pub(crate) chosen: Slot,
    /// Decided up to here, as far as the state machine was told in this boot.
    pub(crate) handed_over: Slot,
    /// A leader's mark: everything up to here is chosen …
    pub(crate) mark: Slot,
    /// … and what its ballot was led for stands in this one.
    pub(crate) mark_of: Ballot,
}

impl Learner {
    pub(crate) const fn new(chosen: Slot, handed_over: Slot) -> Self {
        Self { chosen, handed_over, mark: Slot::ZERO, mark_of: Ballot::ZERO }
    }

    /// The leader of `ballot` says that everything up to `slot` is chosen.
    #[inline]
    pub(crate) fn note_mark(&mut self, ballot: Ballot, slot: Slot) {
        if ballot != self.mark_of {
            (self.mark, self.mark_of) = (Slot::ZERO, ballot);
        }
        self.mark = self.mark.max(slot);
    }

    /// The last slot of the batch that holds the slot behind what is known to be chosen, as far as that is known to be chosen
    /// too. [P7]
    #[inline]
    fn step_on(&self, log: &Log, trusts: bool, enters: bool) -> Option<(Slot, bool)> {
        let next = self.chosen.next();
        let batch = log.batch_at(next)?;
        let last = if batch.ballot == CHOSEN || (enters && may_stop(&batch.values)) {
            batch.last()
        } else if batch.ballot == self.mark_of || trusts {
            batch.last().min(self.mark)
        } else {
            return None;
        };
        (last >= next).then(|| (last, may_stop(&batch.values)))
    }

    pub(crate) fn assert_invariants(&self) {
        assert!(self.handed_over <= self.chosen, "more was handed over than is chosen");
    }
}

impl Core {
    /// Takes for chosen what is known to be so by now. [P7]
    #[inline]
    pub(crate) fn learn(&mut self, out: &mut Out) {
        let trusts = self.config.plants(Mutant::MarkTrustedBlindly);
        let enters = self.config.plants(Mutant::EnteredWhenAccepted);
        let mut moved = false;
        while let Some((last, may_stop)) = self.learner.step_on(&self.log, trusts, enters) {
            let from = self.learner.chosen.next();
            let stop = if may_stop { self.stop_within(from, last) } else { None };
            self.learner.chosen = stop.unwrap_or(last);
            moved = true;
            if let Some(stop) = stop {
                self.enter_next_configuration(stop, out);
            }
        }
        if moved {
            self.open.settle(self.learner.chosen);
        }
    }

    /// Hands over what was chosen since this was last called. [P8]
    #[inline]
    pub(crate) fn hand_over(&mut self, out: &mut Out) {
        if self.learner.chosen > self.learner.handed_over {
            self.learner.handed_over = self.learner.chosen;
            // EARLY: what is chosen is durable at a quorum, and stands without our own disk.
            out.decide_through_early(self.learner.chosen);
        }
    }

    /// Hands over what was chosen, one by one, since the log is about to go.
    pub(crate) fn hand_over_copies(&mut self, out: &mut Out) {
        for (slot, value) in self.log.run(self.learner.handed_over.next(), self.learner.chosen) {
            let Decision { slot, id, verdict, payload } = value.decision(slot);
            // EARLY: what is chosen is durable at a quorum, and stands without our own disk.
            out.decide_early(slot, id, verdict, payload.clone());
        }
        self.learner.handed_over = self.learner.chosen;
    }
}
