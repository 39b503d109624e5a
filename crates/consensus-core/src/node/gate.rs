//! What waits for the disk.

use crate::hand_off::Network;
use crate::id::{NodeId, ProposalId, Slot, WriteSeq};
use crate::machine::Verdict;
use alloc::collections::VecDeque;
use bytes::Bytes;

/// A decision on its way to the state machine.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) slot: Slot,
    pub(super) id: Option<ProposalId>,
    pub(super) verdict: Verdict,
    pub(super) payload: Bytes,
}

/// First in, first out: what was emitted later never overtakes what waits, except for early sends.
#[derive(Debug)]
pub(super) struct Gate<M> {
    held: VecDeque<(WriteSeq, Held<M>)>,
    held_decisions: usize,
    durable: WriteSeq,
}

#[derive(Debug)]
enum Held<M> {
    Send { to: NodeId, message: M },
    Decide(Decided),
}

impl<M> Default for Gate<M> {
    fn default() -> Self {
        Self { held: VecDeque::new(), held_decisions: 0, durable: WriteSeq::ZERO }
    }
}

impl<M> Gate<M> {
    pub(super) const fn durable(&self) -> WriteSeq {
        self.durable
    }

    pub(super) fn send(&mut self, network: &mut impl Network<M>, to: NodeId, message: M, after: WriteSeq) {
        if after <= self.durable {
            network.send(to, message);
        } else {
            self.held.push_back((after, Held::Send { to, message }));
        }
    }

    /// Gives the decision back if it may be applied now.
    pub(super) fn decide(&mut self, decided: Decided, after: WriteSeq) -> Option<Decided> {
        if after <= self.durable && self.held_decisions == 0 {
            return Some(decided);
        }
        self.held.push_back((after, Held::Decide(decided)));
        self.held_decisions += 1;
        None
    }

    /// Notes what is durable; true if that is news.
    pub(super) fn advance(&mut self, durable: WriteSeq) -> bool {
        let news = durable > self.durable;
        self.durable = self.durable.max(durable);
        news
    }

    /// Lets out what waits for nothing any more: sends go to the network, the next decision is returned.
    pub(super) fn release(&mut self, network: &mut impl Network<M>) -> Option<Decided> {
        while let Some((_, held)) = self.held.pop_front_if(|(after, _)| *after <= self.durable) {
            match held {
                Held::Send { to, message } => network.send(to, message),
                Held::Decide(decided) => {
                    self.held_decisions -= 1;
                    return Some(decided);
                }
            }
        }
        None
    }
}
