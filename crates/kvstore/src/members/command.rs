//! What the log says about the members.

use super::{MAX_RESERVED, MemberTable, Row};
use consensus_core::{MAX_MEMBERS, NodeId};
use consensus_runtime::{MAX_ADDRESSES, PeerAddress};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A member at the group's birth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founder {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Where peers reach it.
    pub peer: PeerAddress,
}

/// A change of the table. Variants are only ever appended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberCommand {
    /// Who was there at the group's birth. The first such command counts.
    Found(Vec<Founder>),
    /// Give an id to a newcomer; the same one again if the same newcomer waits already.
    Reserve {
        /// Where peers will reach it.
        peers: Vec<PeerAddress>,
        /// Whether it is to be given a vote as soon as it has caught up.
        wants_vote: bool,
    },
    /// The newcomer did not become a member after all.
    Release(NodeId),
    /// A member listens somewhere else.
    Move {
        /// Who.
        id: NodeId,
        /// Where.
        peers: Vec<PeerAddress>,
    },
    /// A member has started: it tells of itself.
    Publish {
        /// Who.
        id: NodeId,
        /// Its name.
        name: String,
        /// Where clients reach it.
        client_urls: Vec<String>,
        /// Which of all who may come under this id.
        incarnation: u64,
    },
    /// Somebody with an empty disk wants to be the newcomer that was added.
    Claim {
        /// Who it is, if it was told.
        id: Option<NodeId>,
        /// Where peers reach it.
        peer: PeerAddress,
        /// Which of all who may come under this id.
        incarnation: u64,
    },
}

/// What came of a [`MemberCommand`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberReply {
    /// It is done.
    Done,
    /// The newcomer's id.
    Id(NodeId),
}

/// Why a [`MemberCommand`] was not carried out; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemberRefusal {
    /// Nobody has said yet who the founders are.
    #[error("the founders are not known yet")]
    NotFounded,
    /// There is no such member.
    #[error("there is no such member")]
    NotFound,
    /// It was a member once.
    #[error("the member was removed")]
    Removed,
    /// Another member has the address.
    #[error("another member has the address")]
    AddressTaken,
    /// There is a learner already.
    #[error("there is a learner already")]
    TooManyLearners,
    /// A member that was promised a vote has not caught up yet.
    #[error("the last member that was added has not caught up yet")]
    Unsettled,
    /// Another data directory has the id.
    #[error("the member has been started before, with another data directory")]
    Claimed,
    /// A bound is reached.
    #[error("there are too many members, or too much of one")]
    TooMuch,
}

type Outcome = Result<MemberReply, MemberRefusal>;

impl MemberTable {
    /// Carries a command out. Whatever it says was not trusted before: it may come from the log of another program.
    ///
    /// # Errors
    /// The table forbids it.
    pub fn apply(&mut self, command: &MemberCommand) -> Outcome {
        if !self.is_founded() && !matches!(command, MemberCommand::Found(_)) {
            return Err(MemberRefusal::NotFounded);
        }
        let before = self.clone();
        let outcome = match command {
            MemberCommand::Found(founders) => self.found(founders),
            MemberCommand::Reserve { peers, wants_vote } => self.reserve(peers, *wants_vote),
            MemberCommand::Release(id) => {
                self.reserved.remove(id);
                Ok(MemberReply::Done)
            }
            MemberCommand::Move { id, peers } => self.relocate(*id, peers),
            MemberCommand::Publish { id, name, client_urls, incarnation } => {
                self.publish(*id, name, client_urls, *incarnation)
            }
            MemberCommand::Claim { id, peer, incarnation } => self.claim(*id, peer, *incarnation),
        };
        if *self != before {
            self.revision += 1;
        }
        outcome
    }

    fn found(&mut self, founders: &[Founder]) -> Outcome {
        if self.is_founded() {
            return Ok(MemberReply::Done);
        }
        let addresses: BTreeSet<&PeerAddress> = founders.iter().map(|founder| &founder.peer).collect();
        let row = |founder: &Founder| {
            let (name, peers) = (founder.name.clone(), vec![founder.peer.clone()]);
            (founder.id, Row { name, peers, ..Row::default() })
        };
        let rows: BTreeMap<NodeId, Row> = founders.iter().map(row).collect();
        let is_sound = rows.len() == founders.len()
            && addresses.len() == founders.len()
            && founders.len() <= MAX_MEMBERS
            && rows.iter().all(|(&id, row)| id > NodeId::ZERO && id < NodeId(u64::MAX) && row.is_bounded());
        let last = rows.last_key_value().map(|(&id, _)| id).filter(|_| is_sound);
        let last = last.ok_or(MemberRefusal::TooMuch)?;
        (self.rows, self.next) = (rows, last.next());
        Ok(MemberReply::Done)
    }

    fn reserve(&mut self, peers: &[PeerAddress], wants_vote: bool) -> Outcome {
        check_addresses(peers)?;
        if let Some((&id, waiting)) = self.reserved.iter_mut().find(|(_, row)| row.peers == peers) {
            // Asked again, perhaps because the answer was lost.
            waiting.wants_vote = wants_vote;
            return Ok(MemberReply::Id(id));
        }
        if self.aspirants().next().is_some() {
            return Err(MemberRefusal::Unsettled);
        }
        if self.owner(peers).is_some() {
            return Err(MemberRefusal::AddressTaken);
        }
        if !wants_vote && self.rows.values().any(|row| row.is_learner) {
            return Err(MemberRefusal::TooManyLearners);
        }
        if self.rows.len() + MAX_RESERVED >= MAX_MEMBERS || self.next >= NodeId(u64::MAX) {
            return Err(MemberRefusal::TooMuch);
        }
        if self.reserved.len() >= MAX_RESERVED {
            self.reserved.pop_first();
        }
        let id = self.next;
        self.next = id.next();
        let row = Row { peers: peers.to_vec(), is_learner: true, wants_vote, ..Row::default() };
        self.reserved.insert(id, row);
        Ok(MemberReply::Id(id))
    }

    fn relocate(&mut self, id: NodeId, peers: &[PeerAddress]) -> Outcome {
        check_addresses(peers)?;
        self.find(id)?;
        let others = self.rows.iter().chain(&self.reserved).filter(|(other, _)| **other != id);
        if others.flat_map(|(_, row)| &row.peers).any(|address| peers.contains(address)) {
            return Err(MemberRefusal::AddressTaken);
        }
        self.find(id)?.peers = peers.to_vec();
        Ok(MemberReply::Done)
    }

    fn publish(&mut self, id: NodeId, name: &str, client_urls: &[String], incarnation: u64) -> Outcome {
        let row = self.find(id)?;
        let mut told = Row { name: name.into(), client_urls: client_urls.to_vec(), ..row.clone() };
        told.take(incarnation)?;
        if !told.is_bounded() {
            return Err(MemberRefusal::TooMuch);
        }
        *row = told;
        Ok(MemberReply::Done)
    }

    fn claim(&mut self, id: Option<NodeId>, peer: &PeerAddress, incarnation: u64) -> Outcome {
        let id = match id {
            Some(id) => id,
            None => self.owner(std::slice::from_ref(peer)).ok_or(MemberRefusal::NotFound)?,
        };
        let row = self.find(id)?;
        if !row.peers.contains(peer) {
            return Err(MemberRefusal::NotFound);
        }
        // A vote was given to somebody who had started, and founders do not join.
        if !row.is_learner {
            return Err(MemberRefusal::Claimed);
        }
        row.take(incarnation)?;
        Ok(MemberReply::Id(id))
    }

    fn find(&mut self, id: NodeId) -> Result<&mut Row, MemberRefusal> {
        let refusal = if self.has_removed(id) { MemberRefusal::Removed } else { MemberRefusal::NotFound };
        self.rows.get_mut(&id).ok_or(refusal)
    }
}

impl Row {
    /// The id is that of the first who asks for it.
    fn take(&mut self, incarnation: u64) -> Result<(), MemberRefusal> {
        if self.incarnation == 0 {
            self.incarnation = incarnation;
        }
        if self.incarnation == incarnation { Ok(()) } else { Err(MemberRefusal::Claimed) }
    }
}

fn check_addresses(peers: &[PeerAddress]) -> Result<(), MemberRefusal> {
    let distinct: BTreeSet<&PeerAddress> = peers.iter().collect();
    let is_sound = (1..=MAX_ADDRESSES).contains(&peers.len()) && distinct.len() == peers.len();
    if is_sound { Ok(()) } else { Err(MemberRefusal::TooMuch) }
}

impl MemberRefusal {
    /// All of them, in the order of their codes.
    const ALL: [Self; 8] = [
        Self::NotFounded,
        Self::NotFound,
        Self::Removed,
        Self::AddressTaken,
        Self::TooManyLearners,
        Self::Unsettled,
        Self::Claimed,
        Self::TooMuch,
    ];

    pub(crate) fn code(self) -> u8 {
        Self::ALL
            .iter()
            .position(|&refusal| refusal == self)
            .and_then(|at| u8::try_from(at).ok())
            .unwrap_or(0)
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}
