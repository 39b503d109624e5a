//! What nodes say to each other.

use crate::ballot::Ballot;
use crate::configuration::Configuration;
use crate::log::CHOSEN;
use crate::value::{Value, Values, may_stop};
use alloc::boxed::Box;
use alloc::vec::Vec;
use consensus_core::reads::{ReadAnswer, ReadToken};
use consensus_core::{Bytes, NodeId, Offence, Slot, wire};
use serde::{Deserialize, Serialize};

/// Slots and counts above this are lies: no group lives that long, and arithmetic below it cannot overflow.
const MAX_COUNTER: u64 = 1 << 62;
/// The most batches that one page of a promise tells of.
pub(crate) const MAX_PAGE_BATCHES: usize = 1 << 12;

/// A message. Variants are only ever appended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// "Promise me this ballot, and tell me what you have accepted" (phase 1a).
    Prepare(Prepare),
    /// "Promised, and this is what I have accepted", page by page (phase 1b).
    Promise(Box<Promise>),
    /// "Accept these" (phase 2a).
    Accept(Accept),
    /// "I lead": how far the leader is, and what it has sent.
    Heartbeat(Heartbeat),
    /// "Accepted", and the answer to a heartbeat (phase 2b).
    Accepted(Accepted),
    /// "I have promised this ballot, and it is higher than yours" or "your configuration is sealed".
    Preempted(Preempted),
    /// "How do you fare?" (Omni-Paxos §5).
    Ask(Ask),
    /// The answer.
    Tell(Tell),
    /// "I led this ballot, and hear no quorum any more."
    Resigned {
        /// The ballot that was led.
        ballot: Ballot,
    },
    /// "What is chosen in these slots?"
    Learn(Learn),
    /// "This is."
    Learnt(Learnt),
    /// "That I have cut off: here is a piece of a snapshot that contains it."
    Piece(Box<Piece>),
    /// A node asks its leader for the slot that its reads must wait for.
    ReadIndex(ReadToken),
    /// The answer.
    ReadIndexReply {
        /// The question.
        token: ReadToken,
        /// The answer.
        answer: ReadAnswer,
    },
    /// The leader calls its successor to lead a ballot at once.
    Call {
        /// The leader's ballot.
        ballot: Ballot,
    },
    /// Whoever was called does not want to lead.
    Declined {
        /// The ballot of the leader that called.
        ballot: Ballot,
    },
}

/// Phase 1a, for all slots from `from` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    /// The configuration that the sender is in.
    pub configuration: u64,
    /// The ballot that it wants to lead.
    pub ballot: Ballot,
    /// What was accepted before this slot it does not need to know.
    pub from: Slot,
    /// How many promises it thinks to need.
    pub promises: u64,
    /// The ballot whose leader called it to lead this one, and holds no lease any more.
    pub called_by: Option<Ballot>,
}

/// Phase 1b, or a page of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    /// The ballot that is promised.
    pub ballot: Ballot,
    /// Where this page begins: what was asked for.
    pub from: Slot,
    /// The sender knows that everything up to here is chosen, and tells nothing of it.
    pub chosen: Slot,
    /// What it has accepted after that, from `from` on.
    #[serde(deserialize_with = "wire::at_most::<MAX_PAGE_BATCHES, _, _>")]
    pub votes: Vec<Votes>,
    /// Where the next page begins; none if this is the last.
    pub next: Option<Slot>,
}

/// Values that were accepted in one ballot, in consecutive slots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Votes {
    /// The first slot.
    pub first: Slot,
    /// The ballot; the highest number of all if they are known to be chosen.
    pub ballot: Ballot,
    /// The values; at least one.
    pub values: Values,
}

/// Phase 2a.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accept {
    /// The configuration that the sender leads.
    pub configuration: u64,
    /// The ballot that it leads.
    pub ballot: Ballot,
    /// The slot of the first value.
    pub first: Slot,
    /// Everything up to here is chosen; what this ballot was led for stands in it.
    pub chosen: Slot,
    /// The number of the newest probe, to be echoed; zero if no answer is needed beyond that to the values.
    pub probe: u64,
    /// The values; at least one.
    pub values: Values,
}

/// What a leader says when it has nothing to propose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The configuration that the sender leads.
    pub configuration: u64,
    /// The ballot that it leads.
    pub ballot: Ballot,
    /// What lies before this slot it does not propose in this ballot, or has cut off: whoever lacks it asks for it.
    pub start: Slot,
    /// The next slot that it will propose to the receiver: everything from `start` up to there it has proposed.
    pub next: Slot,
    /// As in [`Accept::chosen`].
    pub chosen: Slot,
    /// The number of the newest probe, to be echoed; zero if this is only news and no answer is needed.
    pub probe: u64,
}

/// Phase 2b. An acceptor tells of the slots around those that it was sent last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The ballot in which it has accepted.
    pub ballot: Ballot,
    /// Around the slot that it was sent last it holds everything from here on, without a hole; and nothing before.
    pub first: Slot,
    /// That is durable up to here.
    pub durable: Slot,
    /// It knows that everything up to here is chosen.
    pub chosen: Slot,
    /// The newest probe of this ballot that it has seen.
    pub probe: u64,
}

/// A refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preempted {
    /// The configuration that the sender is in.
    pub configuration: u64,
    /// The ballot that it has promised.
    pub ballot: Ballot,
    /// It knows that everything up to here is chosen.
    pub chosen: Slot,
}

/// A question to all voters, before a ballot is led.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Names the question.
    pub round: u64,
}

/// How a node fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tell {
    /// The question; zero if nobody asked.
    pub round: u64,
    /// The configuration that the sender is in.
    pub configuration: u64,
    /// The ballot that it has promised.
    pub ballot: Ballot,
    /// Whom it takes for the leader.
    pub leader: Option<NodeId>,
    /// Whether it hears somebody who leads, or is about to, or does so itself.
    pub happy: bool,
    /// It knows that everything up to here is chosen.
    pub chosen: Slot,
}

/// A question for what is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learn {
    /// The first slot of interest.
    pub first: Slot,
    /// The last one.
    pub last: Slot,
    /// The piece that is wanted, if `first` is cut off: of the snapshot that ends there, from this byte on.
    pub piece: Option<(Slot, u64)>,
}

/// What is chosen in consecutive slots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Learnt {
    /// The slot of the first value: what was asked for.
    pub first: Slot,
    /// The sender knows that everything up to here is chosen.
    pub chosen: Slot,
    /// The values; none if it does not know them.
    pub values: Values,
}

/// A piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// The slot that was asked for.
    pub first: Slot,
    /// The last slot that the snapshot contains.
    pub through: Slot,
    /// The configuration at that place.
    pub configuration: Configuration,
    /// The length of the whole snapshot, in bytes.
    pub total: u64,
    /// Where in it this piece begins, in bytes.
    pub offset: u64,
    /// The piece.
    pub data: Bytes,
}

const MALFORMED: Offence = Offence::Malformed("a ballot, slot or length is out of range");

/// Whether none of these counters is out of range.
pub(crate) fn fit(counters: &[u64]) -> bool {
    counters.iter().all(|&counter| counter <= MAX_COUNTER)
}

impl Message {
    /// The checks that need no state.
    ///
    /// # Errors
    /// What no correct node would say.
    // [P31]
    #[inline]
    pub fn check(&self, from: NodeId) -> Result<(), Offence> {
        let is_sound = match self {
            Self::Accept(m) => {
                leads(m.ballot, from)?;
                Self::check_stops(&m.values, m.first)?;
                Self::check_seal(&m.values, Some(m.configuration))?;
                fit(&[m.configuration, m.first.0, m.chosen.0, m.probe])
                    && !m.values.is_empty()
                    && m.first > Slot::ZERO
            }
            Self::Accepted(m) => {
                // With nothing around, it ends before it begins.
                fit(&[m.first.0, m.durable.0, m.chosen.0, m.probe])
                    && m.ballot.is_sound()
                    && m.first > Slot::ZERO
                    && m.durable.next() >= m.first
            }
            Self::Heartbeat(m) => {
                leads(m.ballot, from)?;
                let is_sound = m.start > Slot::ZERO && m.next > Slot::ZERO;
                fit(&[m.configuration, m.start.0, m.next.0, m.chosen.0, m.probe]) && is_sound
            }
            Self::Prepare(m) => {
                leads(m.ballot, from)?;
                let is_called_from_below = |by: Ballot| by.is_sound() && by < m.ballot;
                fit(&[m.configuration, m.from.0, m.promises])
                    && m.from > Slot::ZERO
                    && m.called_by.is_none_or(is_called_from_below)
            }
            Self::Promise(m) => m.is_sound()?,
            Self::Preempted(m) => fit(&[m.configuration, m.ballot.round, m.chosen.0]),
            Self::Ask(_) | Self::ReadIndex(_) => true,
            Self::Tell(m) => fit(&[m.configuration, m.ballot.round, m.chosen.0]),
            Self::Resigned { ballot } | Self::Call { ballot } => {
                leads(*ballot, from)?;
                true
            }
            Self::Declined { ballot } => ballot.is_sound(),
            Self::Learn(m) => fit(&[m.first.0, m.last.0]) && m.first > Slot::ZERO,
            Self::Learnt(m) => {
                Self::check_stops(&m.values, m.first)?;
                let end = m.first.0.saturating_add(m.values.len() as u64);
                fit(&[m.first.0, m.chosen.0])
                    && m.first > Slot::ZERO
                    && (m.values.is_empty() || end <= m.chosen.0 + 1)
            }
            Self::Piece(m) => {
                fit(&[m.first.0, m.through.0, m.total, m.offset])
                    && m.offset + m.data.len() as u64 <= m.total
                    && m.configuration.is_sound()
                    && m.configuration.since <= m.through.next()
            }
            Self::ReadIndexReply { answer, .. } => match answer {
                ReadAnswer::At(slot) => fit(&[slot.0]),
                ReadAnswer::NotLeader | ReadAnswer::Busy => true,
            },
        };
        if is_sound { Ok(()) } else { Err(MALFORMED) }
    }

    /// A stop-sign is the last value of its configuration, and names one in which quorums meet.
    pub(crate) fn check_stops(values: &Values, first: Slot) -> Result<(), Offence> {
        if !may_stop(values) {
            return Ok(());
        }
        if !fit(&[first.0]) {
            return Err(MALFORMED);
        }
        for (next_slot, value) in (first.next().0..).zip(values.iter()) {
            if let Value::Stop(next) = value
                && (!next.is_sound() || next.since.0 != next_slot)
            {
                return Err(Offence::Malformed("a stop-sign names a configuration that cannot follow it"));
            }
        }
        Ok(())
    }

    /// [P37] Nothing is proposed behind the stop-sign, and it names the configuration behind the one in which it is proposed.
    fn check_seal(values: &Values, configuration: Option<u64>) -> Result<(), Offence> {
        if !may_stop(values) {
            return Ok(());
        }
        let mut values = values.iter().skip_while(|value| !matches!(value, Value::Stop(_)));
        let Some(Value::Stop(next)) = values.next() else { return Ok(()) };
        if values.next().is_some() {
            return Err(Offence::Impossible("it proposes something behind its stop-sign"));
        }
        if configuration.is_some_and(|number| next.number != number + 1) {
            return Err(Offence::Impossible(
                "its stop-sign does not name the configuration that follows its own",
            ));
        }
        Ok(())
    }
}

impl Promise {
    fn is_sound(&self) -> Result<bool, Offence> {
        let mut before = Slot(self.from.0.saturating_sub(1)).max(self.chosen);
        for votes in &self.votes {
            if votes.ballot != CHOSEN && (votes.ballot >= self.ballot || !votes.ballot.is_sound()) {
                return Err(Offence::Malformed("a promise tells of votes that came after it"));
            }
            if votes.values.is_empty() || votes.first <= before || !fit(&[votes.first.0]) {
                return Ok(false);
            }
            Message::check_stops(&votes.values, votes.first)?;
            if votes.ballot != CHOSEN {
                Message::check_seal(&votes.values, None)?;
            }
            before = Slot(votes.first.0 + votes.values.len() as u64 - 1);
        }
        let is_next = self.next.is_none_or(|next| next > before && fit(&[next.0]) && !self.votes.is_empty());
        Ok(fit(&[self.from.0, self.chosen.0]) && self.ballot.is_sound() && is_next)
    }
}

/// Whether `from` may speak as the leader of `ballot`.
#[inline]
fn leads(ballot: Ballot, from: NodeId) -> Result<(), Offence> {
    if !ballot.is_sound() {
        return Err(MALFORMED);
    }
    if ballot.node != from {
        return Err(Offence::Impossible("it leads a ballot of another node"));
    }
    Ok(())
}
