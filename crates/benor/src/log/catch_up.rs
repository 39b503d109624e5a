//! What may be lost, and who was not there.
//!
//! Whoever is waiting for anything says again where it stands, at intervals, and asks. Everybody who is asked answers. Whoever knows
//! that another knows less asks it, too: so nobody is left behind when all is quiet, and when nobody is, nothing is said.

use super::message::{BatchId, Instance, Message, Outcome, Page, Stand, Want, Word};
use super::open::Open;
use super::state::Log;
use super::step::Out;
use crate::mutant::Mutant;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use consensus_core::{NodeId, Offence, Time};
use rand::Rng;

impl Log {
    pub(crate) fn on_tell(&mut self, from: NodeId, stand: &Stand, out: &mut Out) {
        let known = self.peers.entry(from).or_default();
        *known = stand.settled.max(*known);
        if self.members.is_voter(from) {
            for word in &stand.words {
                self.hear(from, word, out);
            }
        }
    }

    /// [L9] Somebody waits for something.
    pub(crate) fn on_ask(
        &mut self,
        now: Time,
        from: NodeId,
        stand: &Stand,
        want: Option<Want>,
        out: &mut Out,
    ) {
        self.on_tell(from, stand, out);
        let rounds: BTreeMap<Instance, u64> =
            stand.words.iter().map(|word| (word.instance, word.standing.round)).collect();
        let behind = self.open.range(stand.settled.next()..);
        let words = behind.map(|(&instance, open)| {
            open.word_for(instance, self.id, rounds.get(&instance).copied().unwrap_or(0))
        });
        let words = words.take(super::message::MAX_AHEAD as usize).collect();
        self.send(from, Message::Tell(self.stand(words)), out);
        if let Some(want) = want
            && stand.settled < self.ledger.settled()
        {
            self.give(now, from, stand.settled, want, out);
        }
    }

    fn give(&mut self, now: Time, to: NodeId, settled: Instance, want: Want, out: &mut Out) {
        if settled < self.ledger.base() {
            if let Some(piece) = self.piece_for(now, want) {
                self.send(to, Message::Piece(alloc::boxed::Box::new(piece)), out);
            }
            return;
        }
        let most = super::message::MAX_AHEAD as usize;
        let page = self.ledger.page(settled, most, self.config.max_batch_bytes);
        self.send(to, Message::Page(page), out);
    }

    /// [L9] What was decided without us, or without our hearing of it.
    pub(crate) fn on_page(&mut self, from: NodeId, page: Page, out: &mut Out) {
        let Page { first, outcomes, settled } = page;
        let known = self.peers.entry(from).or_default();
        *known = settled.max(*known);
        let before = self.ledger.settled();
        if first > before.next() {
            return;
        }
        for (instance, outcome) in (first.0..).map(Instance).zip(outcomes) {
            if instance <= before {
                continue;
            }
            if let Err(offence) = self.open.entry(instance).or_default().learn(outcome.offer()) {
                return out.accuse(from, offence);
            }
            if let Outcome::Batch(parcel) = outcome {
                self.on_parcel(parcel, out);
            }
            self.more_from = Some(from);
        }
    }

    /// [L12] Nothing was heard that ends the wait.
    pub(crate) fn on_retry(&mut self, out: &mut Out) {
        self.is_timed = false;
        let last = self.open.last_key_value().map_or(Instance::ZERO, |(&last, _)| last);
        self.impatient = core::mem::replace(&mut self.awaited, last);
        self.give_up_if_stalled();
        if !self.is_busy() {
            let behind: Vec<NodeId> = self.those_behind().collect();
            return behind.into_iter().for_each(|peer| self.ask(peer, Vec::new(), None, out));
        }
        let source = self.source();
        let words: Vec<Word> = self.words().collect();
        for peer in self.members.others(self.id) {
            let want = self.want().filter(|_| source == Some(peer));
            self.ask(peer, words.clone(), want, out);
        }
        self.fetch(out);
        self.ask_again_for_reads(out);
    }

    /// What we lack and others have: a page, or more of a snapshot.
    pub(crate) fn want(&self) -> Option<Want> {
        let piece = self.incoming.as_ref().map(|incoming| incoming.next_piece());
        Some(piece.unwrap_or(Want::Page))
    }

    /// Somebody who knows more than we do.
    fn source(&mut self) -> Option<NodeId> {
        let settled = self.ledger.settled();
        let ahead =
            self.peers.iter().filter(|&(_, &theirs)| theirs > settled).map(|(&peer, _)| peer).collect();
        self.pick(ahead)
    }

    /// Whom we ask is left to chance: in turns, it might be the turn of somebody who is gone whenever we lack something.
    fn pick(&mut self, of: Vec<NodeId>) -> Option<NodeId> {
        let drawn = usize::try_from(self.rng.next_u64() >> 32).unwrap_or(0);
        of.get(drawn % of.len().max(1)).copied()
    }

    /// [L9] Batches that we do not hold are asked for of somebody else who has offered them, and so holds them.
    fn fetch(&mut self, out: &mut Out) {
        if self.config.plants(Mutant::NeverFetches) {
            return;
        }
        let mut holders: BTreeMap<BatchId, BTreeSet<NodeId>> = BTreeMap::new();
        for (voter, id) in self.open.values().flat_map(Open::offered) {
            if voter != self.id && !self.batches.holds(id) && !self.ledger.numbers.contain(id) {
                holders.entry(id).or_default().insert(voter);
            }
        }
        let mut wanted: BTreeMap<NodeId, Vec<BatchId>> = BTreeMap::new();
        for (id, holders) in holders {
            if let Some(holder) = self.pick(holders.into_iter().collect()) {
                wanted.entry(holder).or_default().push(id);
            }
        }
        for (holder, ids) in wanted {
            let ids = ids.into_iter().take(super::message::MAX_AHEAD as usize).collect();
            self.send(holder, Message::Fetch(ids), out);
        }
    }

    /// The end of a burst: who gave us something and has more is asked for it, who votes in vain is told, and all hear what is new.
    pub(crate) fn tell_news(&mut self, out: &mut Out) {
        if let Some(peer) = self.more_from.take()
            && (self.settled_at(peer) > self.ledger.settled() || self.incoming.is_some())
        {
            self.ask(peer, Vec::new(), self.want(), out);
        }
        self.fetch_what_came_early(out);
        let mut answers: BTreeMap<NodeId, BTreeMap<Instance, Word>> = BTreeMap::new();
        for (peer, word) in core::mem::take(&mut self.answers) {
            answers.entry(peer).or_default().insert(word.instance, word);
        }
        for (peer, words) in answers {
            let words = words.into_values().take(super::message::MAX_AHEAD as usize).collect();
            self.send(peer, Message::Tell(self.stand(words)), out);
        }
        let id = self.id;
        let news = self.open.iter_mut().filter_map(|(&instance, open)| {
            let is_new = core::mem::take(&mut open.has_news);
            is_new.then(|| open.word(instance, id))
        });
        let last_words = core::mem::take(&mut self.last_words);
        let words: Vec<Word> =
            last_words.into_iter().chain(news).take(super::message::MAX_AHEAD as usize).collect();
        if words.is_empty() {
            return;
        }
        for peer in self.members.others(self.id) {
            self.send(peer, Message::Tell(self.stand(words.clone())), out);
        }
    }

    /// [L15] A message of somebody who is none of us.
    pub(crate) fn is_stranger(&self, from: NodeId, out: &mut Out) -> bool {
        let is_stranger = from == self.id || !self.members.contains(from);
        if is_stranger {
            out.accuse(from, Offence::Stranger);
        }
        is_stranger
    }
}
