//! What goes wrong, and when. Nothing here destroys anything durable, so that every failure is a defect.
//!
//! Each fault draws all that it needs from a fork of its class's stream before it is asked whether it is carried out at all, so
//! that leaving it out moves no other.

use super::{Happening, World};
use crate::mask::FaultClass;
use crate::network::Cut;
use crate::plan::Rhythm;
use crate::random::{MILLION, Stream};
use crate::record::{self, Happened};
use consensus_core::{ConsensusAlgorithm, Event, Faults, Role};

impl<A: ConsensusAlgorithm> World<A> {
    pub(super) fn start_faults(&mut self) {
        self.stormy = true;
        self.plan_fault(FaultClass::Partition, self.plan.partitions, Happening::Partition);
        self.plan_fault(FaultClass::Crash, self.plan.crashes, Happening::Crash);
        self.plan_fault(FaultClass::PowerLoss, self.plan.power_losses, Happening::PowerLoss);
        self.plan_fault(FaultClass::Transfer, self.plan.transfers, Happening::Transfer);
        self.plan_fault(FaultClass::Suspicion, self.plan.suspicions, Happening::Suspicion);
        self.start_changes();
        self.start_hardships();
    }

    pub(super) fn plan_fault(&mut self, class: FaultClass, rhythm: Option<Rhythm>, happening: Happening) {
        if let Some(rhythm) = rhythm.filter(|_| self.stormy) {
            let span = self.streams.faults.get_mut(class).around(rhythm.every);
            self.plan_in(span, happening);
        }
    }

    /// Who calls itself leader.
    pub(super) fn leaders(&self) -> Vec<usize> {
        let leads =
            |host: &super::host::Host<A>| host.status().map(|status| status.role) == Some(Role::Leader);
        (0..self.hosts.len()).filter(|&index| self.hosts.get(index).is_some_and(leads)).collect()
    }

    /// Whom the adversary dislikes most: mostly a leader, if there is one.
    pub(super) fn victim(&self, choices: &mut Stream) -> usize {
        let at_random = choices.index(self.hosts.len());
        let dislikes_leaders = choices.chance(self.plan.at_leaders_ppm);
        match choices.pick(&self.leaders()) {
            Some(&leader) if dislikes_leaders => leader,
            Some(_) | None => at_random,
        }
    }

    pub(super) fn on_partition(&mut self) {
        let Some(rhythm) = self.plan.partitions.filter(|_| self.is_unruly()) else { return };
        let mut choices = self.choices_for(FaultClass::Partition);
        if self.allows(FaultClass::Partition) {
            let target = self.victim(&mut choices);
            let span = choices.around(rhythm.lasts);
            let manners = [Cut::Split, Cut::OneWay, Cut::Isolate, Cut::Partial];
            let manner = choices.pick(&manners).copied().unwrap_or(Cut::Split);
            self.links.cut(manner, target, &mut choices);
            self.partition += 1;
            self.lookout.cuts += 1;
            self.counts.partitions += 1;
            self.trace.event(self.now, 9, target as u64);
            self.trace.say(self.now, || format!("the links are cut: {manner:?} around n{}", target + 1));
            self.tape.note(self.now, || Happened::cut(format!("{manner:?}"), &self.links, self.hosts.len()));
            self.plan_in(span, Happening::Mend { phase: self.partition });
        }
        self.plan_fault(FaultClass::Partition, self.plan.partitions, Happening::Partition);
    }

    pub(super) fn on_mend(&mut self, phase: u64) {
        if phase == self.partition && self.stormy {
            self.trace.event(self.now, 10, phase);
            self.trace.say(self.now, || "the links are whole".into());
            self.tape.note(self.now, || Happened::Heal);
            self.links.heal();
            self.lookout.cuts += 1;
        }
    }

    pub(super) fn on_crash(&mut self) {
        let Some(rhythm) = self.plan.crashes.filter(|_| self.stormy) else { return };
        let mut choices = self.choices_for(FaultClass::Crash);
        let index = self.victim(&mut choices);
        // Where a crash is for good, the fault budget bounds how many there are.
        let for_good = A::GUARANTEES.faults == Faults::Crash;
        let possible = self.is_up(index) && (!for_good || (self.losses_left() > 0 && self.may_lose(index)));
        if self.injector.allows_if(FaultClass::Crash, possible) {
            self.counts.crashes += 1;
            if for_good {
                self.lose(index);
            } else {
                self.kill(index);
                self.plan_restart(index, rhythm, &mut choices);
            }
        }
        self.plan_fault(FaultClass::Crash, self.plan.crashes, Happening::Crash);
    }

    pub(super) fn on_power_loss(&mut self) {
        let Some(rhythm) = self.plan.power_losses.filter(|_| self.stormy) else { return };
        let mut choices = self.choices_for(FaultClass::PowerLoss);
        if self.allows(FaultClass::PowerLoss) {
            self.counts.power_losses += 1;
            self.trace.event(self.now, 11, 0);
            self.tape.note(self.now, || Happened::PowerLoss);
            self.look_at_power_loss();
            for index in 0..self.hosts.len() {
                if self.is_up(index) {
                    self.kill(index);
                    self.plan_restart(index, rhythm, &mut choices);
                }
            }
        }
        self.plan_fault(FaultClass::PowerLoss, self.plan.power_losses, Happening::PowerLoss);
    }

    fn plan_restart(&mut self, index: usize, rhythm: Rhythm, choices: &mut Stream) {
        let span = choices.around(rhythm.lasts);
        let boot = self.hosts.get(index).map_or(0, |host| host.boot);
        self.plan_in(span, Happening::Restart { node: index, boot });
    }

    pub(super) fn on_restart(&mut self, index: usize, boot: u64) {
        let due = self.hosts.get(index).is_some_and(|host| host.boot == boot && !host.lost);
        if due && !self.is_up(index) {
            self.counts.restarts += 1;
            self.boot(index);
        }
    }

    pub(super) fn on_transfer(&mut self) {
        if self.plan.transfers.is_none() || !self.stormy {
            return;
        }
        let mut choices = self.choices_for(FaultClass::Transfer);
        let from = self.victim(&mut choices);
        if self.injector.allows_if(FaultClass::Transfer, self.is_up(from)) {
            let to = choices.index(self.hosts.len() + 1);
            let to = self.hosts.get(to).map(|host| host.id);
            self.counts.transfers += 1;
            self.trace.event(self.now, 12, from as u64);
            self.trace.say(self.now, || format!("n{} is asked to hand over to {to:?}", from + 1));
            self.tape.note(self.now, || Happened::Transfer { node: record::node(from), to });
            self.tell(from, Event::Transfer { to });
        }
        self.plan_fault(FaultClass::Transfer, self.plan.transfers, Happening::Transfer);
    }

    /// A failure detector that knows nothing: its opinions may cost time, and nothing else.
    pub(super) fn on_suspicion(&mut self) {
        if self.plan.suspicions.is_none() || !self.stormy {
            return;
        }
        let mut choices = self.choices_for(FaultClass::Suspicion);
        let (observer, suspected) = (choices.index(self.hosts.len()), choices.chance(3 * MILLION / 4));
        let peer = self.victim(&mut choices);
        let possible = peer != observer && self.is_up(observer);
        if self.injector.allows_if(FaultClass::Suspicion, possible) {
            self.counts.suspicions += 1;
            self.trace.event(self.now, 44, ((observer as u64) << 32) | peer as u64);
            self.trace.say(self.now, || format!("n{} suspects n{}: {suspected}", observer + 1, peer + 1));
            let (node, peer) = (record::node(observer), record::node(peer));
            self.tape.note(self.now, || Happened::Suspicion { node, peer, suspected });
            self.tell(observer, Event::Suspect { peer, suspected });
        }
        self.plan_fault(FaultClass::Suspicion, self.plan.suspicions, Happening::Suspicion);
    }
}
