//! From one configuration to the next.

use crate::configuration::{Configuration, stop_sign};
use crate::log::Log;
use crate::mutant::Mutant;
use crate::state::{Core, MultiPaxos};
use crate::step::Out;
use crate::value::Value;
use alloc::vec::Vec;
use consensus_core::{NodeId, Slot, Time};

impl MultiPaxos {
    /// Whether `from`, which knows that everything up to `chosen` is chosen, is in the configuration that we are in. Whoever is
    /// behind is told so; whoever is ahead is asked for what we lack.
    pub(crate) fn is_of_our_configuration(
        &mut self,
        now: Time,
        from: NodeId,
        number: u64,
        chosen: Slot,
        out: &mut Out,
    ) -> bool {
        let core = &mut self.core;
        if number < core.configuration.number {
            core.preempt(from, out);
        }
        if number > core.configuration.number {
            core.hear(now);
            core.catch_up.want(from, chosen);
        }
        number == core.configuration.number
    }
}

impl Core {
    /// The stop-sign of our configuration among these slots.
    pub(crate) fn stop_within(&self, from: Slot, to: Slot) -> Option<Slot> {
        stop_sign(&self.log, self.configuration.number, from, to).map(|(slot, _)| slot)
    }

    /// Our configuration is sealed at `stop`, and the next one follows.
    pub(crate) fn enter_next_configuration(&mut self, stop: Slot, out: &mut Out) {
        let next = stop_sign(&self.log, self.configuration.number, stop, stop).map(|(_, next)| next.clone());
        if let Some(next) = next {
            self.adopt_configuration(next, out);
        }
    }

    /// This configuration chooses from now on. What was accepted behind the one before is void: nothing of that was chosen.
    pub(crate) fn adopt_configuration(&mut self, next: Configuration, out: &mut Out) {
        if next.number == self.configuration.number {
            return;
        }
        if !self.config.plants(Mutant::SealedVotesStay) {
            self.log.forget_after(self.learner.chosen);
        }
        if next.members != self.configuration.members {
            out.members(next.members.clone());
        }
        self.past.push(core::mem::replace(&mut self.configuration, next));
    }

    /// The configuration that chooses the slot behind `slot`, which is known to be chosen.
    pub(crate) fn configuration_behind(&self, slot: Slot) -> Option<&Configuration> {
        let all = self.past.iter().chain([&self.configuration]);
        all.rev().find(|configuration| configuration.since <= slot.next())
    }

    /// A stop-sign ends what is proposed anew, unless a later slot was accepted in a higher ballot: then it cannot have been chosen,
    /// and stands for nothing. `told` is what promises told, `values` what is to be proposed from `first` on. (Lamport, Malkhi and
    /// Zhou 2008)
    pub(crate) fn respect_stops(&self, first: Slot, told: &Log, values: &mut Vec<Value>) {
        let ballot_at = |index: usize| told.get(Slot(first.0 + index as u64)).map(|(ballot, _)| ballot);
        let mut index = 0;
        while let Some(value) = values.get_mut(index) {
            if let Value::Stop(_) = value {
                let stop = ballot_at(index);
                let is_overruled = (index + 1
                    ..=usize::try_from(told.last().0.saturating_sub(first.0)).unwrap_or(0))
                    .any(|later| ballot_at(later) > stop);
                if !is_overruled {
                    values.truncate(index + 1);
                    return;
                }
                *value = Value::Noop;
            }
            index += 1;
        }
    }
}
