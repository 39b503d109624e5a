//! Whatever may be lost is said again, and who is behind is helped: each replica tells now and then where it stands, and the others
//! answer with what it lacks.

use crate::config::Vouching;
use crate::message::{Message, Proven, Status, ViewChange};
use crate::mutant::Mutant;
use crate::record::Record;
use crate::request::Request;
use crate::state::Pbft;
use crate::statement::{Kind, Sequence, View};
use crate::step::{Out, Timer};
use alloc::boxed::Box;
use alloc::vec::Vec;
use consensus_core::{NodeId, Offence, Time};
use core::time::Duration;

/// How often a replica is helped, or its wish for a view looked at, between two turns of our own timer.
const MOST_HELP: u32 = 16;
/// How many bodies and chunks a replica may fetch between two turns.
const MOST_FETCHES: u32 = 128;
/// How many places one answer tells of.
const MOST_PLACES: usize = 32;
/// The most bytes of batches in one answer.
const MOST_BYTES: usize = 1 << 20;
/// For how many timeouts a request waits for vouchers, and then for being executed, before it is doubted.
const MOST_WAIT: u32 = 16;

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

impl Pbft {
    /// [B26] The turn of the resend timer.
    pub(crate) fn on_resend(&mut self, now: Time, out: &mut Out) {
        out.set_timer(Timer::Resend, now + self.config.resend_interval());
        self.turn += 1;
        self.helped.clear();
        self.vain.clear();
        self.fetched.clear();
        self.begun.get_or_insert(now);
        self.doubt_fairness(now, out);
        let status = Message::Status(self.where_we_stand());
        for node in self.members.others(self.id) {
            out.send_early(node, status.clone()); // EARLY: it promises nothing.
        }
        if self.is_changing {
            self.say_view_change_again(out);
        }
        self.pass_on_again(now, out);
        let rules = self.rules();
        let before = |span| Time::from_nanos(now.as_nanos().saturating_sub(nanos(span)));
        self.requests.expire(before(self.config.view_timeout().saturating_mul(MOST_WAIT)));
        self.requests.doubt(now, before(self.timeout().saturating_mul(MOST_WAIT)), &rules);
        self.ask_for_bodies(out);
        self.tend_transfer(out);
        self.executed_at_turn = self.executed;
    }

    fn where_we_stand(&self) -> Status {
        let (view, is_changing) = (self.view, self.is_changing);
        Status { view, is_changing, stable: self.stable.sequence, executed: self.executed }
    }

    fn say_view_change_again(&self, out: &mut Out) {
        if let Some(change) = self.own_change() {
            self.broadcast(&Message::ViewChange(Box::new(change.clone())), out);
        }
    }

    /// What we have said when we left the view before, to be said again.
    fn own_change(&self) -> Option<&ViewChange> {
        let is_said_again = !self.config.plants(Mutant::ViewChangeSaidOnce);
        self.changes.get(&self.id).filter(|change| change.view == self.view && is_said_again)
    }

    /// What we vouch for is told: to all, or where one voucher is enough, to the primary. [B13]
    pub(crate) fn pass_on(&mut self, out: &mut Out) {
        let fresh = self.requests.take_fresh();
        let is_vouching = self.config.vouching == Vouching::Quorum;
        if fresh.is_empty() || (!is_vouching && (self.is_primary() || self.is_changing)) {
            return;
        }
        let is_told = |node: &NodeId| is_vouching || Some(*node) == self.primary();
        let told: Vec<NodeId> = self.members.others(self.id).filter(is_told).collect();
        let tell = |part: Vec<Request>, out: &mut Out| {
            for &node in &told {
                out.send_early(node, Message::Requests(part.clone())); // EARLY: forgotten, it is not ordered.
            }
        };
        let (most, bytes) = (self.config.max_batch_requests, self.config.max_batch_bytes);
        let mut part = Vec::new();
        let mut size = 0;
        for request in fresh {
            size += request.size();
            if !part.is_empty() && (size > bytes || part.len() == most) {
                size = request.size();
                tell(core::mem::take(&mut part), out);
            }
            part.push(request);
        }
        tell(part, out);
    }

    /// What waits for long the primary may never have got, or ignores: it is told again, and so are all others. Whoever knows that it is
    /// behind waits for what may be executed long since: that would be ordered again and again, and put it further behind.
    fn pass_on_again(&self, now: Time, out: &mut Out) {
        if self.ahead().is_some() && !self.config.plants(Mutant::RepeatsWhatIsOver) {
            return;
        }
        let since = Time::from_nanos(now.as_nanos().saturating_sub(nanos(self.config.resend_interval())));
        let (most, bytes) = (self.config.max_batch_requests, self.config.max_batch_bytes);
        let overdue = self.requests.overdue(self.id, since, most, bytes);
        if overdue.is_empty() {
            return;
        }
        for node in self.members.others(self.id) {
            out.send_early(node, Message::Requests(overdue.clone())); // EARLY: forgotten, it is not ordered.
        }
    }

    /// Bodies that we have only the digest of.
    fn ask_for_bodies(&self, out: &mut Out) {
        let others: Vec<NodeId> = self.members.others(self.id).collect();
        let lacking = self.log.range(self.executed.next()..);
        let lacking = lacking.filter_map(|(&sequence, entry)| Some((sequence, entry.lacks()?)));
        for (count, (sequence, digest)) in lacking.take(MOST_PLACES).enumerate() {
            let turn = usize::try_from(self.turn).unwrap_or(0).wrapping_add(count);
            if let Some(&to) = others.get(turn.checked_rem(others.len()).unwrap_or(0)) {
                out.send_early(to, Message::FetchBatch { sequence, digest }); // EARLY: a question claims nothing.
            }
        }
    }

    pub(crate) fn on_fetch_batch(
        &mut self,
        from: NodeId,
        sequence: Sequence,
        digest: crate::Digest,
        out: &mut Out,
    ) {
        if !self.may_fetch(from) {
            return;
        }
        if let Some(batch) = self.log.get(&sequence).and_then(|entry| entry.body(digest)) {
            // EARLY: a body is what its digest says, whoever has it.
            out.send_early(from, Message::BatchIs { sequence, batch: batch.clone() });
        }
    }

    /// Whether a replica may be helped once more in this turn: who asks without end gets no more than others.
    pub(crate) fn may_help(&mut self, node: NodeId) -> bool {
        let helped = self.helped.entry(node).or_default();
        *helped += 1;
        *helped <= MOST_HELP
    }

    /// Whether a replica may fetch once more in this turn.
    pub(crate) fn may_fetch(&mut self, node: NodeId) -> bool {
        let fetched = self.fetched.entry(node).or_default();
        *fetched += 1;
        *fetched <= MOST_FETCHES
    }

    /// [B26] Answers with what the other replica lacks.
    pub(crate) fn on_status(&mut self, from: NodeId, status: Status, out: &mut Out) {
        if !self.may_help(from) {
            return;
        }
        // Whoever waits for the state of a checkpoint may be the only one who can still prove it to those who have that.
        let highest = self.checkpoints.ahead.as_ref().unwrap_or(&self.stable);
        if status.stable < highest.sequence {
            // EARLY: it proves itself.
            out.send_early(from, Message::Stable(Box::new(highest.clone())));
        }
        self.send_checkpoints(from, status.stable, out);
        self.send_committed(from, status.executed, out);
        let is_behind = status.view < self.view || (status.view == self.view && status.is_changing);
        if is_behind {
            self.send_view(from, out);
        } else if status.view == self.view && !self.is_changing {
            self.send_in_flight(from, status.executed, out);
        }
    }

    /// Somebody wants a view that we have left or entered.
    pub(crate) fn help_into_view(&mut self, from: NodeId, out: &mut Out) {
        if self.may_help(from) {
            self.send_view(from, out);
        }
    }

    /// How we came into our view, or that we want it.
    fn send_view(&self, to: NodeId, out: &mut Out) {
        if self.is_changing {
            if let Some(change) = self.own_change() {
                out.send(to, Message::ViewChange(Box::new(change.clone())));
            }
        } else if let Some(new_view) = &self.new_view {
            out.send(to, Message::NewView(Box::new(new_view.clone())));
        }
    }

    /// Our checkpoints that are not stable there.
    fn send_checkpoints(&self, to: NodeId, stable: Sequence, out: &mut Out) {
        let Some(votes) = self.checkpoints.votes.get(&self.id) else { return };
        for vote in votes.range(stable.next()..).map(|(_, vote)| *vote) {
            out.send(to, Message::Checkpoint(vote));
        }
    }

    /// What we have executed, and the other has not, with proofs.
    fn send_committed(&self, to: NodeId, executed: Sequence, out: &mut Out) {
        let mut bytes = 0;
        for (_, entry) in self.log.range(executed.next()..).take(MOST_PLACES) {
            let (Some(certificate), Some(batch)) = (&entry.committed, entry.outcome()) else { return };
            bytes += batch.size();
            if bytes > MOST_BYTES.max(batch.size()) {
                return;
            }
            let proven = Proven { certificate: certificate.clone(), batch: batch.clone() };
            // EARLY: it proves itself.
            out.send_early(to, Message::Committed(Box::new(proven)));
        }
    }

    /// Our words of this view on places that neither has executed, and that have been open for a while.
    fn send_in_flight(&self, to: NodeId, executed: Sequence, out: &mut Out) {
        let from = self.executed.max(executed).max(self.stable.sequence).next();
        let is_primary = self.is_primary();
        let own =
            |votes: &crate::log::Votes| votes.of(self.id).copied().filter(|vote| vote.view == self.view);
        let open = self.log.range(from..).filter(|(_, entry)| entry.touched < self.turn);
        let mut bytes = 0;
        for (&sequence, entry) in open.take(MOST_PLACES) {
            let proposal =
                entry.taken_over(sequence, Sequence::ZERO).filter(|proposal| proposal.view == self.view);
            if let Some(proposal) = proposal.filter(|_| is_primary) {
                bytes += proposal.batch.size();
                if bytes > MOST_BYTES.max(proposal.batch.size()) {
                    return;
                }
                out.send(to, Message::PrePrepare(proposal));
            }
            let prepare = own(&entry.prepares).map(Message::Prepare);
            let commit = own(&entry.commits).map(Message::Commit);
            for message in prepare.into_iter().chain(commit) {
                out.send(to, message);
            }
        }
    }

    /// [B9] [B26] A place that is committed, with its proof, and in whatever view: it is executed here too.
    pub(crate) fn on_committed(&mut self, from: NodeId, proven: Proven, out: &mut Out) {
        let Proven { certificate, batch } = proven;
        let sequence = certificate.sequence;
        if sequence <= self.executed || !self.is_in_window(sequence) {
            return;
        }
        if batch.digest() != certificate.digest {
            return out.accuse(from, Offence::Malformed("a batch that is not the one which was committed"));
        }
        let entry = self.log.entry(sequence).or_default();
        if entry.body(certificate.digest).is_none() {
            // Who executes something must have it, when it comes back.
            out.persist(Record::Body { sequence, batch: batch.clone() });
            entry.keep(certificate.digest, batch);
        }
        entry.committed.get_or_insert(certificate);
        let before = self.executed;
        self.execute(out);
        // Whoever helps us may have more.
        if self.executed > before && self.executed.0.is_multiple_of(MOST_PLACES as u64 / 2) {
            out.send_early(from, Message::Status(self.where_we_stand())); // EARLY: it promises nothing.
        }
    }

    /// Our own words, made anew after a boot from what is on the disk. [B16]
    pub(crate) fn recall_votes(&mut self, out: &mut Out) {
        let places: Vec<Sequence> = self.log.keys().copied().collect();
        for sequence in places {
            let Some(entry) = self.log.get(&sequence) else { continue };
            let proposal =
                entry.proposal.filter(|accepted| self.config.primary(accepted.view) != Some(self.id));
            let prepare = proposal.map(|accepted| (Kind::Prepare, accepted.view, accepted.digest));
            let prepared = entry.prepared.as_ref();
            let commit = prepared.map(|prepared| (Kind::Commit, prepared.view, prepared.digest));
            let recall = |said: Option<(Kind, View, crate::Digest)>| {
                said.and_then(|(kind, view, digest)| self.vote(kind, view, sequence, digest))
            };
            let (prepare, commit) = (recall(prepare), recall(commit));
            let Some(entry) = self.log.get_mut(&sequence) else { continue };
            if let Some(vote) = prepare {
                entry.prepares.count(self.id, vote);
            }
            if let Some(vote) = commit {
                entry.commits.count(self.id, vote);
            }
            // Alone we are a quorum, and nobody will say more.
            self.certify(sequence, out);
            if let Some(vote) = commit {
                self.conclude(vote.view, sequence, vote.digest, out);
            }
        }
    }
}
