//! What waits for the disk.

use crate::algorithm::Refusal;
use crate::effects::Outgoing;
use crate::hand_off::Network;
use crate::id::{ProposalId, Slot, WriteSeq};
use crate::machine::{Decision, Verdict};
use alloc::collections::VecDeque;
use bytes::Bytes;

/// The most messages that wait for the disk. Beyond it new ones are dropped, as a network may: peers that repeat their
/// questions to a node with a stuck disk must not fill its memory.
pub(super) const MAX_HELD_SENDS: usize = 1 << 16;

/// Something on its way to the state machine.
#[derive(Debug)]
pub(super) enum Handover {
    Decide(Decided),
    Install {
        through: Slot,
        snapshot: Bytes,
    },
    /// The algorithm wants the state as it is in this place.
    Snapshot,
    /// It tells a client of a decision, and must not come before it.
    Refuse {
        id: ProposalId,
        reason: Refusal,
    },
}

#[derive(Debug)]
pub(super) struct Decided {
    pub(super) slot: Slot,
    pub(super) id: Option<ProposalId>,
    pub(super) verdict: Verdict,
    pub(super) payload: Bytes,
}

/// First in, first out, for messages and for the state machine each: what was emitted later never overtakes what waits, except
/// for sends that wait for nothing.
#[derive(Debug)]
pub(super) struct Gate<M> {
    sends: VecDeque<Outgoing<M>>,
    handovers: VecDeque<(WriteSeq, Handover)>,
    durable: WriteSeq,
}

impl<M> Default for Gate<M> {
    fn default() -> Self {
        Self { sends: VecDeque::new(), handovers: VecDeque::new(), durable: WriteSeq::ZERO }
    }
}

impl From<Decision<'_>> for Decided {
    fn from(decision: Decision<'_>) -> Self {
        let Decision { slot, id, verdict, payload } = decision;
        Self { slot, id, verdict, payload: payload.clone() }
    }
}

impl Decided {
    pub(super) const fn as_decision(&self) -> Decision<'_> {
        let Self { slot, id, verdict, payload } = self;
        Decision { slot: *slot, id: *id, verdict: *verdict, payload }
    }
}

impl<M> Gate<M> {
    pub(super) const fn durable(&self) -> WriteSeq {
        self.durable
    }

    #[inline]
    pub(super) fn send(&mut self, network: &mut impl Network<M>, outgoing: Outgoing<M>) {
        if outgoing.after <= self.durable {
            network.send(outgoing.to, outgoing.message);
        } else if self.sends.len() < MAX_HELD_SENDS {
            self.sends.push_back(outgoing);
        }
    }

    /// Whether the state machine may take now what depends on write `after`.
    pub(super) fn is_open(&self, after: WriteSeq) -> bool {
        after <= self.durable && self.handovers.is_empty()
    }

    /// Keeps something for the state machine until write `after` is durable.
    pub(super) fn hold(&mut self, handover: Handover, after: WriteSeq) {
        self.handovers.push_back((after, handover));
    }

    /// Notes what is durable; true if that is news.
    pub(super) fn advance(&mut self, durable: WriteSeq) -> bool {
        let news = durable > self.durable;
        self.durable = self.durable.max(durable);
        news
    }

    /// Whether anything waits.
    pub(super) fn holds(&self) -> bool {
        !self.sends.is_empty() || !self.handovers.is_empty()
    }

    /// Lets out the messages that wait for nothing any more.
    pub(super) fn release(&mut self, network: &mut impl Network<M>) {
        while let Some(outgoing) = self.sends.pop_front_if(|outgoing| outgoing.after <= self.durable) {
            network.send(outgoing.to, outgoing.message);
        }
    }

    /// What the state machine may take next of what was held for it.
    pub(super) fn next_handover(&mut self) -> Option<Handover> {
        let (_, handover) = self.handovers.pop_front_if(|(after, _)| *after <= self.durable)?;
        Some(handover)
    }
}
