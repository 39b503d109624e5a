//! What waits for the disk.

use crate::hand_off::Network;
use crate::id::{NodeId, ProposalId, Slot, WriteSeq};
use crate::machine::Verdict;
use alloc::collections::VecDeque;
use bytes::Bytes;

/// The most messages that wait for the disk. Beyond it new ones are dropped, as a network may: peers that repeat their
/// questions to a node with a stuck disk must not fill its memory.
pub(super) const MAX_HELD_SENDS: usize = 1 << 16;

/// Something on its way to the state machine.
#[derive(Debug)]
pub(super) enum Handover<R> {
    Decide(Decided),
    DecideRecord(R),
    Install { through: Slot, snapshot: Bytes },
}

#[derive(Debug)]
pub(super) struct Decided {
    pub(super) slot: Slot,
    pub(super) id: Option<ProposalId>,
    pub(super) verdict: Verdict,
    pub(super) payload: Bytes,
}

/// First in, first out: what was emitted later never overtakes what waits, except for sends that wait for nothing.
#[derive(Debug)]
pub(super) struct Gate<M, R> {
    held: VecDeque<(WriteSeq, Held<M, R>)>,
    held_handovers: usize,
    durable: WriteSeq,
}

#[derive(Debug)]
enum Held<M, R> {
    Send { to: NodeId, message: M },
    Handover(Handover<R>),
}

impl<M, R> Default for Gate<M, R> {
    fn default() -> Self {
        Self { held: VecDeque::new(), held_handovers: 0, durable: WriteSeq::ZERO }
    }
}

impl<M, R> Gate<M, R> {
    pub(super) const fn durable(&self) -> WriteSeq {
        self.durable
    }

    pub(super) fn send(&mut self, network: &mut impl Network<M>, to: NodeId, message: M, after: WriteSeq) {
        if after <= self.durable {
            network.send(to, message);
        } else if self.held.len() - self.held_handovers < MAX_HELD_SENDS {
            self.held.push_back((after, Held::Send { to, message }));
        }
    }

    /// Gives it back if the state machine may take it now.
    pub(super) fn hand_over(&mut self, handover: Handover<R>, after: WriteSeq) -> Option<Handover<R>> {
        if after <= self.durable && self.held_handovers == 0 {
            return Some(handover);
        }
        self.held.push_back((after, Held::Handover(handover)));
        self.held_handovers += 1;
        None
    }

    /// Notes what is durable; true if that is news.
    pub(super) fn advance(&mut self, durable: WriteSeq) -> bool {
        let news = durable > self.durable;
        self.durable = self.durable.max(durable);
        news
    }

    /// Lets out what waits for nothing any more: sends go to the network, what the state machine takes next is returned.
    pub(super) fn release(&mut self, network: &mut impl Network<M>) -> Option<Handover<R>> {
        while let Some((_, held)) = self.held.pop_front_if(|(after, _)| *after <= self.durable) {
            match held {
                Held::Send { to, message } => network.send(to, message),
                Held::Handover(handover) => {
                    self.held_handovers -= 1;
                    return Some(handover);
                }
            }
        }
        None
    }
}
