//! What the nodes say to each other.
//!
//! Votes are told as in the one-shot protocol: where a node stands, instance by instance. Everything else is about what lies behind a
//! vote (batches), and about those who were not there when it was decided (pages, pieces of a snapshot).

use crate::message::{Decided, Proposal, Standing};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use consensus_core::reads::ReadToken;
use consensus_core::wire::at_most;
use consensus_core::{Batch, Bytes, Item, MAX_MEMBERS, NodeId, Offence, ProposalId, Slot};
use serde::{Deserialize, Serialize};

/// The most proposals in one batch, whoever made it.
pub const MAX_BATCH_ENTRIES: usize = 1 << 16;
/// The most batches of one node that are not decided, whatever is configured.
pub(crate) const MAX_OPEN_BATCHES: u64 = 1 << 10;
/// The most instances under way at once, whatever is configured.
pub(crate) const MAX_WINDOW: u64 = 1 << 10;
/// No message speaks of more instances, and no memory is kept of those further ahead than this.
pub(crate) const MAX_AHEAD: u64 = 2 * MAX_WINDOW;
/// Neither instances nor batches are ever counted so far.
const FAR: u64 = 1 << 62;
/// What one proposal costs beyond its payload, when bytes are bounded.
const ENTRY_OVERHEAD_BYTES: usize = 32;

/// One agreement on a batch or on nothing; counted from 1, and zero is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Instance(pub u64);

impl Instance {
    /// Before the first.
    pub const ZERO: Self = Self(0);

    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The name of a batch: one content, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BatchId {
    /// Whose clients' proposals they are.
    pub origin: NodeId,
    /// Its own count, from 1.
    pub number: u64,
}

/// A proposal of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub id: ProposalId,
    /// Opaque to us.
    pub payload: Bytes,
}

impl Item for Entry {
    const MOST: usize = MAX_BATCH_ENTRIES;

    fn size(&self) -> usize {
        self.payload.len() + ENTRY_OVERHEAD_BYTES
    }
}

/// Proposals that are decided together.
pub type Entries = Batch<Entry>;

/// A batch with its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parcel {
    /// The name.
    pub id: BatchId,
    /// What is in it; never nothing.
    pub entries: Entries,
}

/// What a voter casts in an instance before the first round: what the instance should decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Offer {
    /// It has nothing that it may offer.
    Nothing,
    /// This batch, which it holds.
    Batch(BatchId),
}

/// What a node says of one instance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// The instance.
    pub instance: Instance,
    /// What it has offered.
    pub offer: Option<Offer>,
    /// Where it stands in the rounds; `true` is the batch, `false` is nothing.
    pub standing: Standing,
    /// The batch that `true` means, as far as it is known to the node.
    pub batch: Option<BatchId>,
}

/// Where a node stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stand {
    /// Everything up to this instance is decided and on its disk.
    pub settled: Instance,
    /// What it has to say of later ones, and in answers of those that the other is still voting in.
    #[serde(deserialize_with = "at_most::<{ MAX_AHEAD as usize }, _, _>")]
    pub words: Vec<Word>,
}

/// What somebody who is behind wants of the one that it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Want {
    /// What was decided after its own last settled instance.
    Page,
    /// A piece of a snapshot.
    Piece {
        /// The last slot that the snapshot contains.
        through: Slot,
        /// Where the piece begins.
        offset: u64,
    },
}

/// What an instance has decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing.
    Nothing,
    /// This.
    Batch(Parcel),
}

/// What consecutive instances have decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// The first of them.
    pub first: Instance,
    /// What they decided.
    #[serde(deserialize_with = "at_most::<{ MAX_AHEAD as usize }, _, _>")]
    pub outcomes: Vec<Outcome>,
    /// How far the sender is.
    pub settled: Instance,
}

/// Which batches are settled, of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Settled {
    /// All up to this one,
    through: u64,
    /// and these.
    beyond: BTreeSet<u64>,
}

/// Which batches are settled, by origin: the same at all nodes after the same instance.
// [L8]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Lists", into = "Lists")]
pub struct Numbers(BTreeMap<NodeId, Settled>);

/// What arrives is not believed to be small, or in order.
#[derive(Serialize, Deserialize)]
struct Lists(#[serde(deserialize_with = "at_most::<MAX_MEMBERS, _, _>")] Vec<List>);

#[derive(Serialize, Deserialize)]
struct List {
    origin: NodeId,
    through: u64,
    #[serde(deserialize_with = "at_most::<{ MAX_OPEN_BATCHES as usize }, _, _>")]
    beyond: Vec<u64>,
}

impl From<Numbers> for Lists {
    fn from(Numbers(settled): Numbers) -> Self {
        let list = |(origin, Settled { through, beyond })| List {
            origin,
            through,
            beyond: beyond.into_iter().collect(),
        };
        Self(settled.into_iter().map(list).collect())
    }
}

impl From<Lists> for Numbers {
    fn from(Lists(lists): Lists) -> Self {
        let settled = |List { origin, through, beyond }| {
            let through = through.min(FAR);
            let beyond = beyond.into_iter().filter(|&number| number > through && number <= FAR).collect();
            (origin, Settled { through, beyond })
        };
        Self(lists.into_iter().map(settled).collect())
    }
}

impl Numbers {
    /// Whether this batch is settled.
    #[must_use]
    pub fn contain(&self, id: BatchId) -> bool {
        self.0.get(&id.origin).is_some_and(|of| id.number <= of.through || of.beyond.contains(&id.number))
    }

    /// Every batch of `origin` up to this one is settled.
    #[must_use]
    pub fn through(&self, origin: NodeId) -> u64 {
        self.0.get(&origin).map_or(0, |of| of.through)
    }

    /// The last batch of `origin` that is settled.
    pub(crate) fn last(&self, origin: NodeId) -> u64 {
        self.0.get(&origin).map_or(0, |of| of.beyond.last().copied().unwrap_or(of.through))
    }

    /// This batch is settled.
    pub(crate) fn settle(&mut self, id: BatchId) {
        let of = self.0.entry(id.origin).or_default();
        of.beyond.insert(id.number);
        while of.beyond.remove(&(of.through + 1)) {
            of.through += 1;
        }
    }
}

/// A piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// The last instance that the snapshot contains.
    pub instance: Instance,
    /// The last slot that it contains.
    pub through: Slot,
    /// The batches that are settled by then.
    pub numbers: Numbers,
    /// The length of the snapshot, in bytes.
    pub total: u64,
    /// Where the piece begins.
    pub offset: u64,
    /// The piece.
    pub data: Bytes,
}

/// A message. Variants are only ever appended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// "Here is a batch."
    Parcel(Parcel),
    /// "Here I stand."
    Tell(Stand),
    /// "Here I stand. Where do you?"
    Ask {
        /// Where the sender stands.
        stand: Stand,
        /// What it lacks.
        want: Option<Want>,
    },
    /// "I lack these batches."
    Fetch(#[serde(deserialize_with = "at_most::<{ MAX_AHEAD as usize }, _, _>")] Vec<BatchId>),
    /// "This was decided."
    Page(Page),
    /// "This is what has become of what was decided."
    Piece(Box<Piece>),
    /// "In which instance have you voted last?"
    Read(ReadToken),
    /// "In this one."
    ReadReply {
        /// Of the question.
        token: ReadToken,
        /// The last instance in which the sender has cast anything, or that it knows to be decided.
        highest: Instance,
    },
}

impl BatchId {
    fn check(self) -> Result<(), Offence> {
        if self.number == 0 || self.number > FAR || self.origin == NodeId::ZERO {
            return Err(Offence::Malformed("no batch has this name"));
        }
        Ok(())
    }
}

impl Offer {
    /// The batch.
    #[must_use]
    pub const fn batch(self) -> Option<BatchId> {
        match self {
            Self::Nothing => None,
            Self::Batch(id) => Some(id),
        }
    }
}

impl Parcel {
    fn check(&self) -> Result<(), Offence> {
        if self.entries.is_empty() {
            return Err(Offence::Malformed("an empty batch"));
        }
        self.id.check()
    }
}

impl Outcome {
    /// As an offer.
    #[must_use]
    pub const fn offer(&self) -> Offer {
        match self {
            Self::Nothing => Offer::Nothing,
            Self::Batch(parcel) => Offer::Batch(parcel.id),
        }
    }
}

impl Word {
    /// That the instance has decided this.
    #[must_use]
    pub fn of_decided(instance: Instance, decided: Offer) -> Self {
        let value = decided.batch().is_some();
        let standing = Standing { decided: Some(Decided { value, reached: false }), ..Standing::default() };
        Self { instance, offer: None, standing, batch: decided.batch() }
    }

    /// What the instance has decided, if the sender knows it.
    #[must_use]
    pub fn decided(&self) -> Option<Offer> {
        let decided = self.standing.decided?;
        Some(self.batch.filter(|_| decided.value).map_or(Offer::Nothing, Offer::Batch))
    }

    /// Whether `true` is said anywhere.
    fn names_a_batch(&self) -> bool {
        let Standing { round: _, casts, before, decided } = self.standing;
        let votes = [casts, before].into_iter().flatten();
        let is_true = |proposal| proposal == Some(Proposal::Value(true));
        votes.into_iter().any(|casts| casts.report.value || is_true(casts.proposal))
            || decided.is_some_and(|decided| decided.value)
    }

    fn check(&self) -> Result<(), Offence> {
        self.standing.check()?;
        if self.instance == Instance::ZERO || self.instance.0 > FAR {
            return Err(Offence::Malformed("an instance is out of range"));
        }
        if self.batch.is_none() && self.names_a_batch() {
            return Err(Offence::Malformed("a vote for a batch, and for none by name"));
        }
        if self.standing.decided.is_some_and(|decided| decided.reached) {
            return Err(Offence::Malformed("who has decided an instance votes in it no more"));
        }
        let named = [self.batch, self.offer.and_then(Offer::batch)];
        named.into_iter().flatten().try_for_each(BatchId::check)
    }
}

impl Message {
    /// The checks that need no state.
    ///
    /// # Errors
    /// What no correct node would say.
    // [L15]
    pub fn check(&self) -> Result<(), Offence> {
        let in_range = |instance: Instance| {
            if instance.0 > FAR { Err(Offence::Malformed("an instance is out of range")) } else { Ok(()) }
        };
        match self {
            Self::Parcel(parcel) => parcel.check(),
            Self::Tell(stand) | Self::Ask { stand, want: _ } => {
                in_range(stand.settled)?;
                stand.words.iter().try_for_each(Word::check)
            }
            Self::Fetch(ids) => ids.iter().try_for_each(|id| id.check()),
            Self::Page(Page { first, outcomes, settled }) => {
                in_range(*first)?;
                in_range(*settled)?;
                outcomes.iter().try_for_each(|outcome| match outcome {
                    Outcome::Nothing => Ok(()),
                    Outcome::Batch(parcel) => parcel.check(),
                })
            }
            Self::Piece(piece) => {
                in_range(piece.instance)?;
                let end = piece.offset.checked_add(piece.data.len() as u64);
                if end.is_none_or(|end| end > piece.total) || piece.through.0 > FAR {
                    return Err(Offence::Malformed("a piece that reaches beyond its snapshot"));
                }
                Ok(())
            }
            Self::Read(_) => Ok(()),
            Self::ReadReply { token: _, highest } => in_range(*highest),
        }
    }
}
