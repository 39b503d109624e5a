//! What nodes say to each other.

use crate::digest::Digest;
use crate::entry::{Content, Entries, Position, name_members};
use alloc::boxed::Box;
use consensus_core::reads::{ReadAnswer, ReadToken};
use consensus_core::{Bytes, Epoch, Members, Offence, Slot};
use serde::{Deserialize, Serialize};

/// Terms and slots above this are lies: no group lives that long, and arithmetic below it cannot overflow.
const MAX_COUNTER: u64 = 1 << 62;
/// No correct node is so many terms ahead of another that was ever told of one: that would take years of elections without end.
const MAX_TERM_JUMP: u64 = 1 << 32;
/// Whoever knows no term yet believes no later one: however wrong it is, it leaves a group more terms than it can use up.
const MAX_FIRST_TERM: u64 = MAX_COUNTER / 2;

/// The last term.
pub(crate) const MAX_TERM: Epoch = Epoch(MAX_COUNTER);

/// [R54] The last term that whoever is in term `own` believes. Whoever followed into a term that nobody can leave would stand
/// still for good.
pub(crate) fn last_credible(own: Epoch) -> Epoch {
    Epoch(if own == Epoch::ZERO { MAX_FIRST_TERM } else { own.0.saturating_add(MAX_TERM_JUMP) })
}

/// A message. Variants are only ever appended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// "Would you vote for me?" Changes nothing at the receiver (dissertation §9.6).
    PreVote(Ballot),
    /// The answer to a pre-vote.
    PreVoteReply(BallotReply),
    /// "Vote for me" (paper §5.2).
    Vote(Ballot),
    /// The answer to a vote.
    VoteReply(BallotReply),
    /// Entries, a heartbeat, or news of the commit index (paper §5.3).
    Append(Append),
    /// The answer to an append.
    AppendReply(AppendReply),
    /// A piece of a snapshot (paper §7).
    Snapshot(Box<Chunk>),
    /// The answer to a piece.
    SnapshotReply(ChunkReply),
    /// A follower asks for the index that its reads must wait for (dissertation §6.4).
    ReadIndex(ReadToken),
    /// The answer.
    ReadIndexReply {
        /// The question.
        token: ReadToken,
        /// The answer.
        answer: ReadAnswer,
    },
    /// The leader calls its successor, which holds the whole log, to seek election at once (dissertation §3.10).
    TimeoutNow {
        /// The leader's term.
        term: Epoch,
    },
    /// Whoever was called does not want to lead.
    TransferDeclined {
        /// The term in which it was called.
        term: Epoch,
    },
    /// "Vote for me: the leader called me." Hearing that leader is no reason to refuse.
    CalledVote(Ballot),
    /// A heartbeat of a leader that has nothing to do: whoever has nothing to do either may rest until something happens.
    Rest(Append),
}

/// A candidate's wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballot {
    /// The term that the sender wants to lead.
    pub term: Epoch,
    /// The end of its log.
    pub last: Position,
}

/// A voter's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BallotReply {
    /// The term asked for, if granted; otherwise the voter's own.
    pub term: Epoch,
    /// Whether it is granted.
    pub granted: bool,
}

/// A leader's append.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Append {
    /// The leader's term.
    pub term: Epoch,
    /// What precedes the entries.
    pub prev: Position,
    /// What the leader knows to be committed.
    pub commit: Slot,
    /// The number of the leader's newest probe, to be echoed; zero if no answer is needed beyond that to the entries.
    pub probe: u64,
    /// The entries; none in a heartbeat.
    pub entries: Entries,
}

/// A follower's answer to an append, or, with a higher term, anybody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendReply {
    /// The sender's term.
    pub term: Epoch,
    /// The newest probe of this term that the sender has seen.
    pub probe: u64,
    /// What became of the append.
    pub outcome: Outcome,
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The sender's log equals the leader's up to here, durably.
    Accepted {
        /// The last slot of which that is true.
        matched: Slot,
    },
    /// The sender has no entry at `prev`, or one of another term.
    Rejected {
        /// The slot of `prev` in the append that is refused.
        prev: Slot,
        /// The last place of the sender's log that can match.
        hint: Position,
    },
}

/// A piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// The leader's term.
    pub term: Epoch,
    /// The last entry that the snapshot contains.
    pub through: Position,
    /// The members at that place.
    pub members: Members,
    /// The length of the whole snapshot, in bytes.
    pub total: u64,
    /// The digest of all of it: its bytes, place and members.
    pub digest: Digest,
    /// Where in it this piece begins, in bytes.
    pub offset: u64,
    /// The piece.
    pub data: Bytes,
}

/// The answer to a piece of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkReply {
    /// The sender's term.
    pub term: Epoch,
    /// The last slot of the snapshot.
    pub through: Slot,
    /// Where the piece began that is answered.
    pub offset: u64,
    /// How far the snapshot has arrived.
    pub arrival: Arrival,
}

/// How far a snapshot has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arrival {
    /// So many of its bytes are there, counted from its beginning.
    Received(u64),
    /// All of it was there, and was not what its digest says. Nothing of it was kept.
    Spoilt,
}

impl Message {
    /// The checks that need no state.
    ///
    /// # Errors
    /// What no correct node would say.
    #[inline]
    pub fn check(&self) -> Result<(), Offence> {
        let fits = |counters: &[u64]| counters.iter().all(|&counter| counter <= MAX_COUNTER);
        let position = |p: &Position| fits(&[p.term.0, p.slot.0]);
        let sound = match self {
            Self::PreVote(m) | Self::Vote(m) | Self::CalledVote(m) => {
                fits(&[m.term.0]) && position(&m.last) && m.last.term < m.term
            }
            Self::PreVoteReply(m) | Self::VoteReply(m) => fits(&[m.term.0]),
            Self::Append(m) | Self::Rest(m) => {
                fits(&[m.term.0, m.commit.0, m.probe]) && position(&m.prev) && Self::terms_rise(m)
            }
            Self::AppendReply(m) => {
                fits(&[m.term.0, m.probe])
                    && match m.outcome {
                        Outcome::Accepted { matched } => fits(&[matched.0]),
                        Outcome::Rejected { prev, hint } => fits(&[prev.0]) && position(&hint),
                    }
            }
            Self::Snapshot(m) => {
                fits(&[m.term.0, m.total, m.offset])
                    && position(&m.through)
                    && m.through.term <= m.term
                    && m.offset + m.data.len() as u64 <= m.total
            }
            Self::SnapshotReply(m) => {
                fits(&[m.term.0, m.through.0, m.offset])
                    && match m.arrival {
                        Arrival::Received(bytes) => fits(&[bytes]),
                        Arrival::Spoilt => true,
                    }
            }
            Self::TimeoutNow { term } | Self::TransferDeclined { term } => fits(&[term.0]),
            Self::ReadIndex(_) => true,
            Self::ReadIndexReply { answer, .. } => match answer {
                ReadAnswer::At(slot) => fits(&[slot.0]),
                ReadAnswer::NotLeader | ReadAnswer::Busy => true,
            },
        };
        if matches!(self, Self::Rest(offer) if !offer.entries.is_empty()) {
            return Err(Offence::Malformed("an offer of rest that brings work"));
        }
        if !self.members_can_elect() {
            return Err(Offence::Malformed("it names members of whom nobody can lead"));
        }
        if sound { Ok(()) } else { Err(Offence::Malformed("a term, slot or length is out of range")) }
    }

    /// [R26] Members of whom nobody can lead end a group for good.
    fn members_can_elect(&self) -> bool {
        let can_elect =
            |members: &Members| members.voters().iter().any(|node| !members.witnesses().contains(node));
        match self {
            Self::Append(m) if name_members(&m.entries) => {
                m.entries.iter().all(|entry| match &entry.content {
                    Content::Members { members, .. } => can_elect(members),
                    Content::Noop | Content::Proposal { .. } | Content::Withheld => true,
                })
            }
            Self::Snapshot(m) => can_elect(&m.members),
            Self::Append(_)
            | Self::PreVote(_)
            | Self::PreVoteReply(_)
            | Self::Vote(_)
            | Self::VoteReply(_)
            | Self::AppendReply(_)
            | Self::SnapshotReply(_)
            | Self::ReadIndex(_)
            | Self::ReadIndexReply { .. }
            | Self::TimeoutNow { .. }
            | Self::TransferDeclined { .. }
            | Self::CalledVote(_)
            | Self::Rest(_) => true,
        }
    }

    /// The term that it speaks of.
    const fn term(&self) -> Option<Epoch> {
        match self {
            Self::PreVote(m) | Self::Vote(m) | Self::CalledVote(m) => Some(m.term),
            Self::PreVoteReply(m) | Self::VoteReply(m) => Some(m.term),
            Self::Append(m) | Self::Rest(m) => Some(m.term),
            Self::AppendReply(m) => Some(m.term),
            Self::Snapshot(m) => Some(m.term),
            Self::SnapshotReply(m) => Some(m.term),
            Self::TimeoutNow { term } | Self::TransferDeclined { term } => Some(*term),
            Self::ReadIndex(_) | Self::ReadIndexReply { .. } => None,
        }
    }

    /// [R54] Whether whoever is in term `own` can believe the term that this speaks of.
    #[inline]
    pub(crate) fn is_credible(&self, own: Epoch) -> bool {
        self.term().is_none_or(|term| term <= own || term <= last_credible(own))
    }

    /// Whether it only answers what was asked of a member.
    pub(crate) const fn is_answer(&self) -> bool {
        match self {
            Self::PreVoteReply(_)
            | Self::VoteReply(_)
            | Self::AppendReply(_)
            | Self::SnapshotReply(_)
            | Self::TransferDeclined { .. } => true,
            // It is compared with the leader that was asked.
            Self::ReadIndexReply { .. } => false,
            Self::PreVote(_)
            | Self::Vote(_)
            | Self::CalledVote(_)
            | Self::Append(_)
            | Self::Rest(_)
            | Self::Snapshot(_)
            | Self::ReadIndex(_)
            | Self::TimeoutNow { .. } => false,
        }
    }

    /// Along a log terms never fall, and none exceeds its leader's.
    fn terms_rise(append: &Append) -> bool {
        let mut before = append.prev.term;
        let rises = append.entries.iter().all(|entry| {
            let rises = before <= entry.term;
            before = entry.term;
            rises
        });
        rises && before <= append.term && append.entries.first().is_none_or(|entry| entry.term > Epoch::ZERO)
    }
}
