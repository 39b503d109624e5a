//! What a node knows.

use super::batches::{Batches, Queue};
use super::config::Config;
use super::ledger::Ledger;
use super::message::{Instance, Message, Stand, Want, Word};
use super::open::Open;
use super::read::Reading;
use super::snapshot::{Incoming, Snapshot};
use super::step::{Out, Timer};
use crate::model::Thresholds;
use crate::mutant::Mutant;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use consensus_core::{Epoch, Inspection, Members, NodeId, Role, Slot, Status, Time};
use core::time::Duration;
use rand::rngs::ChaCha8Rng;

/// One node of a log that nobody leads.
#[derive(Debug)]
pub struct Log {
    pub(crate) id: NodeId,
    pub(crate) config: Config,
    pub(crate) members: Members,
    pub(crate) thresholds: Thresholds,
    /// Proposals of our clients that are in no batch yet.
    pub(crate) queue: Queue,
    /// The last batch of our own.
    pub(crate) last_number: u64,
    /// Batches that are not settled.
    pub(crate) batches: Batches,
    /// Of whom batches came too early: the first that was not asked for since, and the last.
    pub(crate) too_early: BTreeMap<NodeId, (u64, u64)>,
    /// Instances that are not settled.
    pub(crate) open: BTreeMap<Instance, Open>,
    /// Those of them of which it is on our disk what they decided.
    pub(crate) noted: BTreeSet<Instance>,
    pub(crate) ledger: Ledger,
    /// Everything up to this slot was handed to the state machine.
    pub(crate) handed_over: Slot,
    /// How many instances we begin at once.
    pub(crate) window: u64,
    /// The last instance that was begun when we last said where we stand.
    pub(crate) awaited: Instance,
    /// Up to this instance we offer nothing if we have nothing: we have asked for what others offer there, in vain.
    pub(crate) impatient: Instance,
    /// How much the others have said that they have settled.
    pub(crate) peers: BTreeMap<NodeId, Instance>,
    /// What is to be told to all of what is settled by now, in place of our votes.
    pub(crate) last_words: Vec<Word>,
    /// What is to be told to those who vote in what we have decided.
    pub(crate) answers: Vec<(NodeId, Word)>,
    /// Who is to be asked for more of what it has just given us.
    pub(crate) more_from: Option<NodeId>,
    pub(crate) reading: Reading,
    pub(crate) snapshot: Option<Snapshot>,
    /// One that somebody is still receiving, though there is a newer one.
    pub(crate) served: Option<Snapshot>,
    pub(crate) incoming: Option<Incoming>,
    /// Whether the timer runs.
    pub(crate) is_timed: bool,
    pub(crate) rng: ChaCha8Rng,
}

impl Log {
    /// Everything up to this instance is decided and held here.
    #[must_use]
    pub fn settled(&self) -> Instance {
        self.ledger.settled()
    }

    /// What this node would say of each instance that is not settled here.
    pub fn words(&self) -> impl Iterator<Item = Word> {
        self.open.iter().map(|(&instance, open)| open.word(instance, self.id))
    }

    /// How far somebody is, as far as we know.
    pub(crate) fn settled_at(&self, peer: NodeId) -> Instance {
        self.peers.get(&peer).copied().unwrap_or_default()
    }

    /// The furthest that anybody is.
    pub(crate) fn target(&self) -> Instance {
        self.peers.values().copied().max().unwrap_or_default()
    }

    /// [L12] Whether anything is missing, or under way.
    pub(crate) fn is_busy(&self) -> bool {
        !self.open.is_empty()
            || !self.batches.is_empty()
            || self.target() > self.ledger.settled()
            || self.reading.is_asking()
    }

    /// [L12] Those who may not know what we know.
    pub(crate) fn those_behind(&self) -> impl Iterator<Item = NodeId> {
        let settled = self.ledger.settled();
        self.members.others(self.id).filter(move |&peer| self.settled_at(peer) < settled)
    }

    /// [L11] Leaves once what was cast is on our disk.
    pub(crate) fn send(&self, to: NodeId, message: Message, out: &mut Out) {
        if self.config.plants(Mutant::WordsBeforeDurable) {
            // EARLY: it is a bug, and planted.
            return out.send_early(to, message);
        }
        out.send(to, message);
    }

    /// Where we stand, with these words.
    pub(crate) fn stand(&self, words: Vec<Word>) -> Stand {
        Stand { settled: self.ledger.settled(), words }
    }

    pub(crate) fn ask(&self, peer: NodeId, words: Vec<Word>, want: Option<Want>, out: &mut Out) {
        self.send(peer, Message::Ask { stand: self.stand(words), want }, out);
    }

    /// [L12] Wakes us up as long as there is anything to wait for.
    pub(crate) fn arm(&mut self, now: Time, out: &mut Out) {
        if !self.is_timed && (self.is_busy() || self.those_behind().next().is_some()) {
            self.is_timed = true;
            out.set_timer(Timer::Retry, now + Duration::from_millis(self.config.retry_ms));
        }
    }

    pub(crate) fn observe(&self) -> Status {
        Status {
            role: if self.members.is_voter(self.id) { Role::Peer } else { Role::Learner },
            leader: None,
            epoch: Epoch(self.ledger.settled().0),
            decided: self.ledger.end(),
            members: self.members.clone(),
            blocked: Vec::new(),
        }
    }

    pub(crate) fn show(&self) -> Inspection {
        let through = self.snapshot.as_ref().map_or(Slot::ZERO, |snapshot| snapshot.through);
        Inspection {
            first: self.ledger.first_slot(),
            last: self.ledger.end(),
            durable: self.handed_over,
            snapshot: through,
            queues: alloc::vec![
                ("proposals without a batch", self.queue.len()),
                ("batches that are not decided", self.batches.len()),
                ("instances under way", self.open.len()),
                ("reads", self.reading.len()),
            ],
            peers: Vec::new(),
            proofs: Vec::new(),
        }
    }

    pub(crate) fn check_invariants(&self) {
        let settled = self.ledger.settled();
        self.ledger.assert_invariants();
        assert!(self.open.keys().all(|&instance| instance > settled), "a settled instance is open");
        assert!(
            self.noted.iter().all(|instance| self.open.contains_key(instance)),
            "nothing is noted of what"
        );
        for open in self.open.values() {
            open.assert_invariants(self.members.voter_count());
        }
        assert!(self.handed_over <= self.ledger.end(), "what is not settled was handed over");
        let is_settled = |(id, _)| self.ledger.numbers.contain(id);
        let may_repeat =
            self.config.plants(Mutant::SettledForgotten) || self.config.plants(Mutant::OffersTwice);
        assert!(may_repeat || !self.batches.iter().any(is_settled), "a settled batch may be offered");
        assert!(self.reading.len() <= self.config.max_pending_reads, "too many reads wait");
    }
}
