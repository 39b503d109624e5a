//! View changes: a primary that does not deliver is replaced (Castro and Liskov 1999, §4.4 and §4.5.2).

use crate::certificate::Heritage;
use crate::keys::Signature;
use crate::log::Accepted;
use crate::message::{Message, NewView, Proposal, ViewChange, Vote};
use crate::mutant::Mutant;
use crate::record::Record;
use crate::state::Pbft;
use crate::statement::{Kind, Sequence, Statement, View};
use crate::step::{Out, Timer};
use alloc::boxed::Box;
use alloc::vec::Vec;
use consensus_core::{Epoch, NodeId, Note, Time};
use core::time::Duration;

/// The timeout doubles so many times at most, whatever it may come to.
const MOST_DOUBLINGS: u32 = 20;
/// A request may be overtaken for this many timeouts.
const PATIENCE: u32 = 8;

impl Pbft {
    /// How long something may take in this view.
    pub(crate) fn timeout(&self) -> Duration {
        let doublings =
            if self.config.plants(Mutant::TimeoutNotDoubled) { 0 } else { self.barren.min(MOST_DOUBLINGS) };
        self.config.view_timeout().saturating_mul(2_u32.pow(doublings)).min(self.config.max_view_timeout())
    }

    /// [B18] A backup that waits for something to be executed, and whoever waits for a view that a quorum wants, has a deadline.
    pub(crate) fn tend_deadline(&mut self, now: Time, out: &mut Out) {
        let waits = if self.is_changing {
            self.wishes_from(self.view) >= self.config.quorum() || self.config.plants(Mutant::TimerAtOnce)
        } else {
            let has_more = self.log.range(self.executed.next()..).any(|(_, entry)| entry.proposal.is_some());
            let has_more = has_more || !self.held.is_empty() || self.requests.has_ready();
            has_more && !self.is_primary() && !self.awaits_snapshot()
        };
        match (waits, self.deadline) {
            (true, None) => {
                let at = if self.is_hopeless() { now } else { now + self.timeout() };
                self.deadline = Some(at);
                out.set_timer(Timer::View, at);
            }
            (true, Some(_)) => {}
            (false, Some(_)) => {
                self.deadline = None;
                out.cancel_timer(Timer::View);
            }
            (false, None) => {}
        }
    }

    /// [B18] Whether the primary is not waited for: our detector suspects it. Detectors may be wrong for ever, and timeouts grow until
    /// they are right: so not in more views in a row that bring nothing than replicas may be faulty.
    fn is_hopeless(&self) -> bool {
        let is_suspected = self.primary().is_some_and(|primary| self.suspected.contains(&primary));
        is_suspected && !self.is_changing && (self.barren as usize) < self.config.weak()
    }

    /// [B18] Our failure detector's opinion. Whoever has not been there yet may be about to come: who has just started must not leave the
    /// others' view alone.
    pub(crate) fn on_suspect(&mut self, peer: NodeId, suspected: bool) {
        if !self.members.is_voter(peer) {
            return;
        }
        if !suspected {
            self.seen.insert(peer);
            self.suspected.remove(&peer);
        } else if self.seen.contains(&peer) {
            self.suspected.insert(peer);
            if self.is_hopeless() {
                self.deadline = None;
            }
        }
    }

    /// [B18] Nothing was executed for long, or the view did not begin.
    pub(crate) fn on_view_timeout(&mut self, out: &mut Out) {
        if self.deadline.take().is_some() {
            self.change_view(self.view.next(), "nothing is executed", out);
        }
    }

    /// [B24] A request that is overtaken by others for long has a primary that ignores it.
    pub(crate) fn doubt_fairness(&mut self, now: Time, out: &mut Out) {
        let Some((since, begun)) = self.requests.oldest().zip(self.begun) else { return };
        let is_ignored = since.max(begun) + self.timeout().saturating_mul(PATIENCE) <= now;
        if is_ignored && !self.is_changing && !self.is_primary() && !self.awaits_snapshot() {
            self.change_view(self.view.next(), "a request is ignored", out);
        }
    }

    /// [B18] [B19] Leaves all views below this one, and tells what was prepared.
    pub(crate) fn change_view(&mut self, view: View, why: &'static str, out: &mut Out) {
        if view <= self.view {
            return;
        }
        self.barren = self.barren.saturating_add(1);
        (self.view, self.is_changing, self.deadline, self.begun) = (view, true, None, None);
        self.held.clear();
        let prepared = self.log.values().filter_map(|entry| entry.prepared.clone());
        let prepared =
            if self.config.plants(Mutant::PreparedNotTold) { Vec::new() } else { prepared.collect() };
        let signature = Signature { r: [0; 32], s: [0; 32] };
        let mut change = ViewChange { node: self.id, view, stable: self.stable.clone(), prepared, signature };
        let Some(signature) = self.sign(change.statement()) else { return };
        change.signature = signature;
        if !self.config.plants(Mutant::ViewChangeNotWritten) {
            out.persist(Record::ViewChange(Box::new(change.clone())));
        }
        self.changes.insert(self.id, change.clone());
        out.note(Note::ElectionStarted { epoch: Epoch(view.0), why });
        self.broadcast(&Message::ViewChange(Box::new(change)), out);
        self.begin_view(out);
    }

    /// Whether a member signed that. Most of what certificates are made of was said to us too, and is not checked again. [B19]
    fn is_signed(&self, node: NodeId, statement: Statement, signature: &Signature) -> bool {
        let Statement { kind, view, sequence, digest } = statement;
        let is_known = self.log.get(&sequence).is_some_and(|entry| match kind {
            Kind::PrePrepare => {
                entry.proposal == Some(Accepted { view, digest, signature: *signature })
                    && self.config.primary(view) == Some(node)
            }
            Kind::Prepare => {
                entry.prepares.of(node) == Some(&Vote { view, sequence, digest, signature: *signature })
            }
            Kind::Commit | Kind::Checkpoint | Kind::ViewChange | Kind::NewView => false,
        });
        is_known || self.config.is_signed(node, statement, signature)
    }

    /// How many replicas want this view, or a later one.
    fn wishes_from(&self, view: View) -> usize {
        self.changes.values().filter(|change| change.view >= view).count()
    }

    /// [B19] [B20] Somebody wants another view.
    pub(crate) fn on_view_change(&mut self, from: NodeId, change: ViewChange, out: &mut Out) {
        let is_left = change.view < self.view || (change.view == self.view && !self.is_changing);
        if is_left && self.config.plants(Mutant::ViewMovesBack) {
            (self.view, self.is_changing) = (change.view, true);
        }
        if let Some(known) = self.changes.get(&from) {
            if known.view == change.view && known.statement() != change.statement() {
                let first = (known.statement(), known.signature);
                return self.convict(from, first, (change.statement(), change.signature), out);
            }
            if known.view >= change.view {
                if is_left {
                    self.help_into_view(from, out);
                }
                return;
            }
        }
        // What proves nothing takes as long to check as what does: so much of a peer is looked at.
        if !self.may_help(from) {
            return;
        }
        if let Err(offence) = change.check(&self.config, &|node, what, by| self.is_signed(node, what, by)) {
            return out.accuse(from, offence);
        }
        self.changes.insert(from, change);
        if is_left {
            return self.help_into_view(from, out);
        }
        self.join(out);
        self.begin_view(out);
    }

    /// [B20] Of f+1 replicas that want a higher view one is correct: the smallest such view is wanted here too.
    fn join(&mut self, out: &mut Out) {
        if self.config.plants(Mutant::NeverJoins) {
            return;
        }
        let mut wanted: Vec<View> =
            self.changes.values().map(|change| change.view).filter(|view| *view > self.view).collect();
        wanted.sort_unstable();
        if wanted.len() >= self.config.weak()
            && let Some(&smallest) = wanted.first()
        {
            self.change_view(smallest, "others have changed", out);
        }
    }

    /// [B21] The primary of a view that a quorum wants begins it.
    fn begin_view(&mut self, out: &mut Out) {
        if !self.is_changing || !self.is_primary() {
            return;
        }
        let quorum = self.config.quorum();
        let mut changes: Vec<ViewChange> =
            self.changes.values().filter(|change| change.view == self.view).cloned().collect();
        if changes.len() < quorum {
            return;
        }
        // Ours is among them, since it is the one that we know to be right.
        changes.sort_unstable_by_key(|change| (change.node != self.id, change.node));
        changes.truncate(quorum);
        changes.sort_unstable_by_key(|change| change.node);
        let mut proposals = Vec::new();
        for (sequence, digest) in Heritage::of(&changes, &self.config).digests {
            let statement = Statement { kind: Kind::PrePrepare, view: self.view, sequence, digest };
            let Some(signature) = self.sign(statement) else { return };
            proposals.push(Proposal { sequence, digest, signature });
        }
        let signature = Signature { r: [0; 32], s: [0; 32] };
        let mut new_view = NewView { view: self.view, changes, proposals, signature };
        let Some(signature) = self.sign(new_view.statement()) else { return };
        new_view.signature = signature;
        self.enter(new_view.clone(), out);
        self.broadcast(&Message::NewView(Box::new(new_view)), out);
        self.note_lead(out);
    }

    /// [B22] A view begins, as its proof says. Views never go back. [B23]
    pub(crate) fn on_new_view(&mut self, from: NodeId, new_view: NewView, out: &mut Out) {
        let is_news = new_view.view > self.view || (new_view.view == self.view && self.is_changing);
        if !is_news || self.config.primary(new_view.view) == Some(self.id) || !self.may_help(from) {
            return;
        }
        let was_checked = |change: &ViewChange| self.changes.get(&change.node) == Some(change);
        let verify = |node, what, by: &Signature| self.is_signed(node, what, by);
        if let Err(offence) = new_view.check(&self.config, &verify, was_checked) {
            return out.accuse(from, offence);
        }
        self.enter(new_view, out);
        self.prepare_heritage(out);
    }

    /// The view begins here. What was prepared before stays known until a later certificate takes its place. [B8]
    pub(crate) fn enter(&mut self, new_view: NewView, out: &mut Out) {
        out.persist(Record::NewView(Box::new(new_view.clone())));
        let stable = Heritage::of(&new_view.changes, &self.config).stable;
        self.take_up(new_view);
        self.log.values_mut().for_each(crate::log::Entry::tidy);
        self.on_stable(stable, out);
        let unexecuted = self.log.range(self.executed.next()..);
        self.requests.requeue(unexecuted.flat_map(|(_, entry)| entry.bodies()));
    }

    /// Takes what a view begins with for what its primary has proposed.
    pub(crate) fn take_up(&mut self, new_view: NewView) {
        let view = new_view.view;
        let stable = new_view.changes.iter().map(|change| change.stable.sequence).max().unwrap_or_default();
        let last = new_view.proposals.last().map_or(stable, |proposal| proposal.sequence);
        (self.view, self.is_changing, self.deadline, self.begun) = (view, false, None, None);
        (self.inherited, self.assigned) = (last, last);
        self.held.clear();
        if self.config.plants(Mutant::PreparedForgotten) {
            self.log.values_mut().for_each(|entry| entry.prepared = None);
        }
        self.new_view = Some(new_view);
        self.fill_in();
        // What the primary of an earlier view proposed beyond that is void.
        for (_, entry) in self.log.range_mut(last.next()..) {
            entry.proposal.take_if(|accepted| accepted.view < view);
        }
    }

    /// Puts what the view begins with at its places, as far as our watermarks reach.
    fn fill_in(&mut self) -> Vec<Sequence> {
        let null = crate::Batch::default();
        let (null_digest, view) = (null.digest(), self.view);
        let proposals = self.new_view.as_ref().map_or(&[][..], |new_view| &new_view.proposals);
        let mut filled = Vec::new();
        for &Proposal { sequence, digest, signature } in proposals {
            let is_there = self
                .log
                .get(&sequence)
                .and_then(|entry| entry.proposal)
                .is_some_and(|known| known.view >= view);
            if is_there || !self.is_in_window(sequence) {
                continue;
            }
            let entry = self.log.entry(sequence).or_default();
            entry.proposal = Some(Accepted { view, digest, signature });
            entry.touched = self.turn;
            if digest == null_digest {
                entry.keep(digest, null.clone());
            }
            filled.push(sequence);
        }
        filled
    }

    /// The watermarks have risen: more of what the view began with lies between them.
    pub(crate) fn take_up_rest(&mut self, out: &mut Out) {
        if !self.is_changing {
            let filled = self.fill_in();
            self.prepare_all(&filled, out);
        }
    }

    /// [B22] Backups say PREPARE to everything that the view begins with.
    fn prepare_heritage(&mut self, out: &mut Out) {
        let places: Vec<Sequence> =
            self.log.range(..=self.inherited).map(|(&sequence, _)| sequence).collect();
        self.prepare_all(&places, out);
    }

    fn prepare_all(&mut self, places: &[Sequence], out: &mut Out) {
        for &sequence in places {
            let proposal = self.log.get(&sequence).and_then(|entry| entry.proposal);
            let Some(accepted) = proposal.filter(|accepted| accepted.view == self.view) else { continue };
            if !self.is_primary() {
                self.prepare(accepted.view, sequence, accepted.digest, out);
            }
            self.certify(sequence, out);
        }
    }
}
