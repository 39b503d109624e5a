//! The batches that are not settled: who holds which, and which may be offered.
//!
//! Invariants: what is here is on our disk; nothing here is settled; of each node so many at most as it may have open.

use super::message::{BatchId, Entries, Entry, Instance, MAX_AHEAD, Numbers, Offer, Parcel};
use super::open::Open;
use super::record::Record;
use super::state::Log;
use super::step::Out;
use crate::mutant::Mutant;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use consensus_core::{Bytes, Item, NodeId, ProposalId, Refusal};

/// Proposals that are in no batch yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The oldest of them, as many as fit into one batch.
    fn take(&mut self, most: usize, most_bytes: usize) -> Entries {
        let mut size = 0;
        let fits = |entry: &&Entry| {
            size += entry.size();
            size <= most_bytes
        };
        let count = self.entries.iter().take(most).take_while(fits).count().max(1);
        let batch: Entries = self.entries.drain(..count.min(self.entries.len())).collect();
        self.bytes -= batch.size();
        batch
    }
}

/// After how many instances for each voter a batch is overdue.
const OVERDUE_ROUNDS: u64 = 2;

/// Batches by name, with the last instance that was settled when each came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batches(BTreeMap<BatchId, (Entries, Instance)>);

impl Batches {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, id: BatchId) -> Option<&Entries> {
        self.0.get(&id).map(|(entries, _)| entries)
    }

    pub(crate) fn holds(&self, id: BatchId) -> bool {
        self.0.contains_key(&id)
    }

    pub(crate) fn insert(&mut self, Parcel { id, entries }: Parcel, settled: Instance) {
        self.0.entry(id).or_insert((entries, settled));
    }

    pub(crate) fn remove(&mut self, id: BatchId) -> Option<Entries> {
        self.0.remove(&id).map(|(entries, _)| entries)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (BatchId, &Entries)> {
        self.0.iter().map(|(&id, (entries, _))| (id, entries))
    }

    pub(crate) fn parcels(&self) -> impl Iterator<Item = Parcel> {
        self.iter().map(|(id, entries)| Parcel { id, entries: entries.clone() })
    }

    /// Whether others had their turns again and again while it was here.
    fn is_overdue(&self, id: BatchId, instance: Instance, voters: usize) -> bool {
        let patience = voters as u64 * OVERDUE_ROUNDS;
        self.0.get(&id).is_some_and(|(_, since)| since.0.saturating_add(patience) < instance.0)
    }

    /// Forgets what is settled.
    pub(crate) fn forget(&mut self, numbers: &Numbers) {
        self.0.retain(|&id, _| !numbers.contain(id));
    }

    /// The last of `origin`; zero if there is none.
    pub(crate) fn last(&self, origin: NodeId) -> u64 {
        self.of(origin).last().map_or(0, |id| id.number)
    }

    /// The names of those of `origin`, oldest first.
    pub(crate) fn of(&self, origin: NodeId) -> impl DoubleEndedIterator<Item = BatchId> {
        let end = BatchId { origin, number: u64::MAX };
        self.0.range(BatchId { origin, number: 0 }..=end).map(|(&id, _)| id)
    }
}

impl Log {
    /// [L1] A proposal waits for the end of the burst, or for its turn.
    pub(crate) fn on_propose(&mut self, id: ProposalId, payload: Bytes, out: &mut Out) {
        if !self.members.is_voter(self.id) {
            return out.refuse(id, Refusal::Unsupported);
        }
        if payload.len() > self.config.max_payload_bytes {
            return out.refuse(id, Refusal::TooLarge);
        }
        let queue = &mut self.queue;
        let has_room = queue.entries.len() < self.config.max_queued_entries
            && queue.bytes < self.config.max_queued_bytes;
        if !has_room {
            return out.refuse(id, Refusal::Busy);
        }
        let entry = Entry { id, payload };
        queue.bytes += entry.size();
        queue.entries.push_back(entry);
    }

    /// [L1] What waits becomes batches, as long as few enough of ours are open; everybody is given them once they are on our disk.
    pub(crate) fn make_batches(&mut self, out: &mut Out) {
        let end = self.ledger.numbers.through(self.id) + self.config.max_open_batches;
        while !self.queue.is_empty() && self.last_number < end {
            let entries = self.queue.take(self.config.max_batch_entries, self.config.max_batch_bytes);
            self.last_number += 1;
            let parcel = Parcel { id: BatchId { origin: self.id, number: self.last_number }, entries };
            out.persist(Record::Held(parcel.clone()));
            self.batches.insert(parcel.clone(), self.ledger.settled());
            for peer in self.members.others(self.id) {
                self.send(peer, super::Message::Parcel(parcel.clone()), out);
            }
        }
    }

    /// [L2] A batch of somebody's is kept, on our disk, if it is news.
    pub(crate) fn on_parcel(&mut self, parcel: Parcel, out: &mut Out) {
        let BatchId { origin, number } = parcel.id;
        let is_settled =
            self.ledger.numbers.contain(parcel.id) && !self.config.plants(Mutant::SettledForgotten);
        let end = self.ledger.numbers.through(origin).saturating_add(self.config.max_open_batches);
        if is_settled || self.batches.holds(parcel.id) || !self.members.is_voter(origin) {
            return;
        }
        // What is decided already is wanted, however far it is ahead of what is settled here.
        if number <= end || self.is_decided(parcel.id) {
            out.persist(Record::Held(parcel.clone()));
            self.batches.insert(parcel, self.ledger.settled());
        } else if !self.config.plants(Mutant::EarlyForgotten) {
            let (next, last) = self.too_early.entry(origin).or_insert((number, number));
            (*next, *last) = (number.min(*next), number.max(*last));
        }
    }

    /// [L2] What came too early is asked for once there is room for it.
    pub(crate) fn fetch_what_came_early(&mut self, out: &mut Out) {
        let (batches, numbers) = (&self.batches, &self.ledger.numbers);
        let (most, mut fetches) = (self.config.max_open_batches, Vec::new());
        self.too_early.retain(|&origin, (next, last)| {
            let settled = numbers.through(origin);
            let end = settled.saturating_add(most).min(*last);
            let ids = (settled.saturating_add(1).max(*next)..=end).map(|number| BatchId { origin, number });
            let lacking = ids.filter(|&id| !batches.holds(id) && !numbers.contain(id));
            fetches.push((origin, lacking.take(MAX_AHEAD as usize).collect::<Vec<_>>()));
            *next = end.saturating_add(1).max(*next);
            *next <= *last
        });
        for (origin, ids) in fetches.into_iter().filter(|(_, ids)| !ids.is_empty()) {
            self.send(origin, super::Message::Fetch(ids), out);
        }
    }

    /// [L9] Somebody lacks batches.
    pub(crate) fn on_fetch(&self, from: NodeId, ids: &[BatchId], out: &mut Out) {
        let mut size = 0;
        for &id in ids {
            let Some(entries) = self.batches.get(id) else { continue };
            size += entries.size();
            self.send(from, super::Message::Parcel(Parcel { id, entries: entries.clone() }), out);
            if size > self.config.max_batch_bytes {
                return;
            }
        }
    }

    pub(crate) fn is_decided(&self, id: BatchId) -> bool {
        self.open.values().any(|open| open.decided == Some(Offer::Batch(id)))
    }

    /// [L3] What is offered in `instance`: the oldest batch of whoever's turn it is, if it is overdue; what most others offer, if we may;
    /// otherwise the oldest batch of whoever's turn it is, or who comes next. `taken` are those that we may not offer.
    pub(crate) fn choose(&self, instance: Instance, taken: &BTreeSet<BatchId>) -> Option<BatchId> {
        let is_free = |id: &BatchId| self.batches.holds(*id) && !taken.contains(id);
        if self.config.plants(Mutant::OwnFirst) {
            return self.batches.of(self.id).find(is_free);
        }
        let voters = self.members.voters();
        let turn = usize::try_from(instance.0 % voters.len().max(1) as u64).unwrap_or(0);
        let mut in_turn = voters.iter().skip(turn).chain(voters.iter().take(turn)).copied();
        let own_turn = voters.get(turn).and_then(|&origin| self.batches.of(origin).find(is_free));
        let overdue = own_turn.filter(|&id| self.batches.is_overdue(id, instance, voters.len()));
        let followed = || self.open.get(&instance).and_then(Open::most_offered).filter(is_free);
        overdue.or_else(followed).or_else(|| in_turn.find_map(|origin| self.batches.of(origin).find(is_free)))
    }

    /// [L4] What we have offered in an instance that is not decided, and what is decided and not settled.
    pub(crate) fn taken(&self) -> BTreeSet<BatchId> {
        let of = |open: &Open| match open.decided {
            Some(decided) => decided.batch(),
            None if self.config.plants(Mutant::OffersTwice) => None,
            None => open.offer_of(self.id).and_then(Offer::batch),
        };
        self.open.values().filter_map(of).collect()
    }
}
