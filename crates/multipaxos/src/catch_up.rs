//! Learning what was chosen without us.
//!
//! Who lacks something asks those who know, several questions at once: what is chosen is chosen for good, so it does not matter
//! who tells it, or in which ballot it was. Answers that come early wait for those before them. In the log they would pass for
//! votes of a configuration that may be sealed in between, and an overruled stop-sign looks just like that. What somebody has cut off comes as a piece of a
//! snapshot instead; pieces are asked for one after the other. What stays unanswered is asked of somebody else.

use crate::log::CHOSEN;
use crate::message::{Learn, Learnt, Message, Piece};
use crate::mutant::Mutant;
use crate::record::Record;
use crate::snapshot::Incoming;
use crate::state::{Core, MultiPaxos};
use crate::step::{Out, Timer};
use crate::value::Values;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use consensus_core::{MAX_MEMBERS, NodeId, Offence, Slot, Time};
use core::time::Duration;

/// What is known of what we lack.
#[derive(Clone, Debug, Default)]
pub(crate) struct CatchUp {
    /// Somebody knows that everything up to here is chosen, and nobody will propose it to us.
    target: Slot,
    /// Who knows how much.
    sources: Vec<Source>,
    /// Which of them is asked first.
    turn: usize,
    /// Questions under way.
    asked: Vec<Question>,
    /// Everything before this slot was asked for.
    next: Slot,
    /// Whether the timer runs that looks after those that stay unanswered.
    is_timed: bool,
    pub(crate) incoming: Option<Incoming>,
    /// What is chosen behind something that we lack, by the first slot.
    early: BTreeMap<Slot, Values>,
}

#[derive(Clone, Copy, Debug)]
struct Source {
    node: NodeId,
    chosen: Slot,
}

#[derive(Clone, Copy, Debug)]
struct Question {
    to: NodeId,
    first: Slot,
    last: Slot,
    /// The piece that is wanted: of the snapshot that ends there, from this byte on.
    piece: Option<(Slot, u64)>,
    /// When it was asked.
    at: Time,
}

impl CatchUp {
    /// `node` knows that everything up to `chosen` is chosen, and we want to know it too.
    pub(crate) fn want(&mut self, node: NodeId, chosen: Slot) {
        self.target = self.target.max(chosen);
        self.note_source(node, chosen);
    }

    /// How much of a snapshot has arrived, in bytes.
    pub(crate) fn received(&self) -> u64 {
        self.incoming.as_ref().map_or(0, Incoming::received)
    }

    fn note_source(&mut self, node: NodeId, chosen: Slot) {
        if let Some(source) = self.sources.iter_mut().find(|source| source.node == node) {
            source.chosen = source.chosen.max(chosen);
        } else if self.sources.len() < MAX_MEMBERS {
            self.sources.push(Source { node, chosen });
        }
    }

    /// The next who knows `slot`.
    fn source_of(&mut self, slot: Slot) -> Option<NodeId> {
        let count = self.sources.len();
        let place = (0..count)
            .map(|step| (self.turn + step) % count)
            .find(|&place| self.sources.get(place).is_some_and(|source| source.chosen >= slot))?;
        self.turn = place + 1;
        self.sources.get(place).map(|source| source.node)
    }

    /// Which question this answers.
    fn place_of(&self, from: NodeId, first: Slot) -> Option<usize> {
        self.asked.iter().position(|asked| asked.to == from && asked.first == first)
    }

    /// Takes out the question that this answers.
    fn answer(&mut self, from: NodeId, first: Slot) -> Option<Question> {
        Some(self.asked.swap_remove(self.place_of(from, first)?))
    }
}

impl Core {
    /// Whether something is missing that nobody will send unasked.
    fn lacks(&self) -> bool {
        self.learner.chosen < self.catch_up.target
    }

    /// [P14] Asks for what is missing, as many questions as are allowed at once.
    pub(crate) fn ask_for_missing(&mut self, now: Time, out: &mut Out) {
        if !self.lacks() {
            return;
        }
        let chosen = self.learner.chosen;
        let catch_up = &mut self.catch_up;
        catch_up.asked.retain(|asked| asked.last > chosen);
        catch_up.incoming.take_if(|incoming| incoming.through <= chosen);
        catch_up.next = catch_up.next.max(chosen.next());
        if catch_up.incoming.is_some() {
            return self.ask_for_piece(now, out);
        }
        let page = self.config.max_accept_values as u64;
        let end = self.catch_up.target.min(Slot(chosen.0 + self.config.max_ahead_values));
        while self.catch_up.asked.len() < self.config.max_questions && self.catch_up.next <= end {
            let first = self.catch_up.next;
            let Some(to) = self.catch_up.source_of(first) else { break };
            let last = Slot(first.0 + page - 1).min(end);
            self.put_question(Question { to, first, last, piece: None, at: now }, out);
            self.catch_up.next = last.next();
        }
        if self.catch_up.asked.is_empty() {
            // Nobody who is known knows it.
            (self.catch_up.target, self.catch_up.next) = (chosen, Slot::ZERO);
        }
    }

    /// [P16] What follows a snapshot is not known before it is whole.
    fn ask_for_piece(&mut self, now: Time, out: &mut Out) {
        let Some(incoming) = &self.catch_up.incoming else { return };
        let (through, received) = (incoming.through, incoming.received());
        if self.catch_up.asked.iter().any(|asked| asked.piece.is_some()) {
            return;
        }
        let first = self.learner.chosen.next();
        if let Some(to) = self.catch_up.source_of(first) {
            let piece = Some((through, received));
            self.put_question(Question { to, first, last: through, piece, at: now }, out);
        }
    }

    fn put_question(&mut self, question: Question, out: &mut Out) {
        let Question { to, first, last, piece, at: _ } = question;
        self.catch_up.asked.push(question);
        // EARLY: a question claims nothing.
        out.send_early(to, Message::Learn(Learn { first, last, piece }));
        if !self.catch_up.is_timed {
            self.time_questions(out);
        }
    }

    /// Wakes us when the oldest question has waited for long enough.
    fn time_questions(&mut self, out: &mut Out) {
        let oldest = self.catch_up.asked.iter().map(|asked| asked.at).min();
        self.catch_up.is_timed = oldest.is_some();
        if let Some(oldest) = oldest {
            out.set_timer(Timer::Learn, oldest + self.answer_time());
        }
    }

    /// How long an answer may take.
    fn answer_time(&self) -> Duration {
        self.config.heartbeat_interval() * 2
    }

    /// Keeps values that are chosen, once everything before them is known. [P14]
    fn keep(&mut self, first: Slot, values: Values, out: &mut Out) {
        self.catch_up.early.insert(first, values);
        self.keep_what_came_early(out);
    }

    /// [P14] [P41] Something more is known: what came early may be next.
    pub(crate) fn keep_what_came_early(&mut self, out: &mut Out) {
        while let Some(entry) = self.catch_up.early.first_entry()
            && *entry.key() <= self.learner.chosen.next()
        {
            let (first, values) = entry.remove_entry();
            self.keep_next(first, values, out);
        }
    }

    fn keep_next(&mut self, first: Slot, values: Values, out: &mut Out) {
        let chosen = self.learner.chosen;
        let skipped = usize::try_from(chosen.next().0.saturating_sub(first.0)).unwrap_or(usize::MAX);
        let (first, values) = (first.max(chosen.next()), values.skip(skipped));
        if values.is_empty() {
            return;
        }
        let seq = out.persist(Record::Learnt { first, values: values.clone() });
        self.log.accept(CHOSEN, first, values, seq);
        self.learn(out);
    }
}

impl MultiPaxos {
    /// [P14] [P15] Tells what we know to be chosen; of what we have cut off, a piece of the snapshot.
    pub(crate) fn on_learn(&mut self, now: Time, from: NodeId, learn: Learn, out: &mut Out) {
        let core = &mut self.core;
        let Learn { first, last, piece } = learn;
        let chosen = core.learner.chosen;
        if first <= core.log.base() {
            if core.config.plants(Mutant::CutWithoutSnapshot) {
                return;
            }
            if let Some(piece) = core.piece_for(now, first, piece) {
                // EARLY: a snapshot holds what is chosen; forgetting that we sent it contradicts nothing.
                out.send_early(from, Message::Piece(Box::new(piece)));
            }
            return;
        }
        let (most, bytes) = (core.config.max_accept_values, core.config.max_accept_bytes);
        let values = core.log.slice(first, last.min(chosen), most, bytes);
        let values = if first > chosen { Values::default() } else { values };
        // EARLY: what is chosen is durable at a quorum.
        out.send_early(from, Message::Learnt(Learnt { first, chosen, values }));
    }

    pub(crate) fn on_learnt(&mut self, now: Time, from: NodeId, learnt: Learnt, out: &mut Out) {
        let core = &mut self.core;
        let Learnt { first, chosen, values } = learnt;
        let Some(question) = core.catch_up.answer(from, first) else { return };
        if values.is_empty() {
            // It knows less than we thought.
            core.catch_up.sources.retain(|source| source.node != from);
            core.catch_up.next = core.catch_up.next.min(first);
            return;
        }
        core.catch_up.note_source(from, chosen);
        // Nobody needs more than was asked for; if it leads, it must not have more.
        let values = values.take(usize::try_from(question.last.0 + 1 - first.0).unwrap_or(usize::MAX));
        let last = Slot(first.0 + values.len() as u64 - 1);
        if self.is_overtaken_by(first, &values) {
            self.resign(now, out);
        }
        let core = &mut self.core;
        core.keep(first, values, out);
        if last < question.last && core.learner.chosen < question.last {
            // It did not fit.
            let first = last.next().max(core.learner.chosen.next());
            core.put_question(Question { first, at: now, ..question }, out);
        }
    }

    /// [P16] What brings nothing new is no answer: each answer is followed by a question, and so by another answer; if repetitions
    /// were, their number would never fall.
    pub(crate) fn on_piece(&mut self, now: Time, from: NodeId, piece: Piece, out: &mut Out) {
        let core = &mut self.core;
        if core.catch_up.place_of(from, piece.first).is_none() {
            return;
        }
        if piece.total > core.config.max_snapshot_bytes {
            return out.accuse(from, Offence::Malformed("a snapshot over the configured limit"));
        }
        let through = piece.through;
        if through <= core.learner.chosen {
            return;
        }
        if piece.configuration.number < core.configuration.number {
            return out.accuse(from, Offence::Impossible("its snapshot ends in an earlier configuration"));
        }
        core.catch_up.note_source(from, through);
        let is_new = Incoming::is_brought_on(core.catch_up.incoming.as_ref(), &piece);
        if !is_new && !core.config.plants(Mutant::RepeatedPieceAnswered) {
            return;
        }
        let Some(question) = core.catch_up.answer(from, piece.first) else { return };
        // What was asked for beyond the snapshot stays to be asked.
        core.catch_up.next = core.catch_up.next.min(through.next());
        let incoming = &mut core.catch_up.incoming;
        Incoming::take(incoming, piece);
        if let Some(whole) = incoming.take_if(|incoming| incoming.is_whole()) {
            self.yield_to_snapshot(now, through, out);
            return self.core.install(whole, out);
        }
        // Whoever has this snapshot is asked for the rest of it.
        if let Some(incoming) = incoming.as_ref().filter(|incoming| incoming.through == through) {
            let piece = Some((through, incoming.received()));
            core.put_question(Question { piece, last: through, at: now, ..question }, out);
        }
    }

    /// What stayed unanswered is asked once more, of somebody else.
    pub(crate) fn on_learn_timeout(&mut self, now: Time, out: &mut Out) {
        let core = &mut self.core;
        let patience = core.answer_time();
        let expired: Vec<_> =
            core.catch_up.asked.extract_if(.., |asked| asked.at + patience <= now).collect();
        // A snapshot that nobody has any more is given up.
        let most = core.catch_up.sources.len() + 1;
        if expired.iter().any(|question| question.piece.is_some()) {
            core.catch_up.incoming.take_if(|incoming| incoming.has_stalled(most));
        }
        // What is to be asked for a piece, the flush does.
        for question in expired.into_iter().filter(|question| question.piece.is_none()) {
            let first = question.first.max(core.learner.chosen.next());
            match core.catch_up.source_of(first).filter(|_| first <= question.last) {
                Some(to) => core.put_question(Question { to, first, at: now, ..question }, out),
                None => core.catch_up.next = core.catch_up.next.min(first),
            }
        }
        core.time_questions(out);
    }
}
