//! Linearizable reads without an instance.
//!
//! Whoever wants to read asks the voters in which instance each has voted last. A proposal that was answered before the read came was decided by
//! voters of which one is among any n − f, and it had voted in that instance before it was decided. So the read waits until the
//! largest of the answers is settled here, and no longer. All reads of a burst share a question.

use super::message::{Instance, Message};
use super::state::Log;
use super::step::Out;
use crate::mutant::Mutant;
use alloc::vec::Vec;
use consensus_core::quorum::Tally;
use consensus_core::reads::{Forwarded, ReadToken};
use consensus_core::{NodeId, ReadId, Refusal};

/// The reads of a node.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    asked: Forwarded,
    /// The present question, and who has answered it.
    token: ReadToken,
    answered: Tally,
    /// The largest answer.
    highest: Instance,
    /// Whose question is answered, until the instance is settled.
    waiting: Vec<(Instance, Vec<ReadId>)>,
}

impl Reading {
    /// `boot` is never drawn again.
    pub(crate) fn new(boot: u64) -> Self {
        Self {
            asked: Forwarded::default(),
            token: ReadToken { boot, round: 0 },
            answered: Tally::new(),
            highest: Instance::ZERO,
            waiting: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.asked.len() + self.waiting.iter().map(|(_, ids)| ids.len()).sum::<usize>()
    }

    /// Whether somebody is still to answer.
    pub(crate) fn is_asking(&self) -> bool {
        !self.asked.is_empty() || !self.waiting.is_empty()
    }
}

impl Log {
    pub(crate) fn on_read(&mut self, id: ReadId, out: &mut Out) {
        let bound = self.config.max_pending_reads;
        if self.reading.len() >= bound || !self.reading.asked.push(id, bound) {
            out.refuse_read(id, Refusal::Busy);
        }
    }

    /// [L10] The last instance in which we have cast anything, or that we know to be decided.
    fn highest(&self) -> Instance {
        let is_known = |open: &super::open::Open| open.decided.is_some() || open.offer_of(self.id).is_some();
        let open = self.open.iter().rev().find(|(_, open)| is_known(open)).map(|(&instance, _)| instance);
        let settled = self.ledger.settled();
        if self.config.plants(Mutant::ReadsWhatIsSettled) {
            settled
        } else {
            open.unwrap_or(settled).max(settled)
        }
    }

    /// [L10] The reads that nobody was asked about begin a question, and those whose question is answered are served.
    pub(crate) fn serve_reads(&mut self, out: &mut Out) {
        while self.reading.asked.asked().is_none() && self.reading.asked.has_fresh() {
            self.ask_for_reads(out);
            self.close_question();
        }
        let (settled, end) = (self.ledger.settled(), self.ledger.end());
        self.reading.waiting.retain(|(instance, ids)| {
            let is_settled = *instance <= settled;
            if is_settled {
                ids.iter().for_each(|&id| out.read_ready(id, end));
            }
            !is_settled
        });
    }

    fn ask_for_reads(&mut self, out: &mut Out) {
        let reading = &mut self.reading;
        reading.token.round += 1;
        reading.asked.start_round(reading.token.round);
        reading.answered.clear();
        if self.members.is_voter(self.id) {
            reading.answered.add(self.id);
        }
        self.reading.highest = self.highest();
        for peer in self.members.others(self.id).filter(|&peer| self.members.is_voter(peer)) {
            // EARLY: a question claims nothing.
            out.send_early(peer, Message::Read(self.reading.token));
        }
    }

    /// What is asked may be lost, and so may the answer.
    pub(crate) fn ask_again_for_reads(&self, out: &mut Out) {
        if self.reading.asked.asked().is_none() {
            return;
        }
        for peer in self.members.others(self.id).filter(|&peer| self.members.is_voter(peer)) {
            if !self.reading.answered.contains(peer) {
                // EARLY: a question claims nothing.
                out.send_early(peer, Message::Read(self.reading.token));
            }
        }
    }

    pub(crate) fn on_read_question(&self, from: NodeId, token: ReadToken, out: &mut Out) {
        let highest = self.highest();
        // EARLY: if we forget in a crash that we cast there, the read has waited for more than it had to.
        out.send_early(from, Message::ReadReply { token, highest });
    }

    pub(crate) fn on_read_reply(&mut self, from: NodeId, token: ReadToken, highest: Instance) {
        if token != self.reading.token || !self.members.is_voter(from) {
            return;
        }
        self.reading.answered.add(from);
        self.reading.highest = self.reading.highest.max(highest);
        self.close_question();
    }

    /// [L10] Enough have answered.
    fn close_question(&mut self) {
        let needed = if self.config.plants(Mutant::ReadsAlone) { 1 } else { self.thresholds.wait };
        let reading = &mut self.reading;
        if reading.answered.count() >= needed && reading.asked.asked().is_some() {
            let ids = reading.asked.take_through(reading.token.round);
            reading.waiting.push((reading.highest, ids));
        }
    }
}
