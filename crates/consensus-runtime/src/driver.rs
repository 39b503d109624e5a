//! One group: takes what has arrived in one burst, lets the node carry it out, and routes what comes of it.
//!
//! Invariants:
//! - The node is touched by its lane alone, and nothing here awaits: no cancelled future can leave it half-stepped.
//! - A request is handed on again only if nobody has it for certain (a definite refusal, or a frame that never left).
//! - Every request is answered by its deadline, or with the end of the replica.

use crate::clock::Clock;
use crate::frame::{Forward, ForwardReply, Settled};
use crate::lane::{BURST, Resident, Turn};
use crate::mailbox::{Mail, Mailbox, News};
use crate::metrics::add;
use crate::network::Outgoing;
use crate::proposals::{Adopted, Proposals, Stage};
use crate::reads::Reads;
use crate::replicated::RequestError;
use crate::report::Statement;
use crate::request::{Ask, FromPeer, Inbound, Read};
use crate::shared::{Shared, StopReason, View};
use crate::{GroupConfig, Runnable, chronicle};
use consensus_core::{
    ClientId, Event, Faults, Node, NodeError, NodeId, ProposalId, Refusal, Reply, Slot, StateMachine,
    Storage, Time,
};
use std::sync::Arc;
use std::sync::atomic::Ordering::Release;
use std::time::Duration;

/// In quiet times room for more mail than this is given back.
const KEPT_MAIL: usize = 64;
/// How often what was put aside is tried again.
const RETRY: Duration = Duration::from_millis(25);
/// How often deadlines of requests are looked at.
const SWEEP: Duration = Duration::from_millis(100);

/// The state of one group.
pub(crate) struct Driver<A: Runnable, N, S, M> {
    node: Node<A, N, S, M>,
    me: NodeId,
    clock: Clock,
    mailbox: Arc<Mailbox<A::Message>>,
    shared: Arc<Shared>,
    /// What was taken out of the mailbox and is not yet handled.
    mail: Mail<A::Message>,
    proposals: Proposals,
    adopted: Adopted,
    reads: Reads,
    leader: Option<NodeId>,
    request_timeout: Duration,
    sweep_at: Option<Time>,
    /// Something was pushed into the node since its last flush.
    dirty: bool,
    /// Reused between bursts.
    replies: Vec<Reply>,
}

impl<A, N, S, M> Driver<A, N, S, M>
where
    A: Runnable,
    N: Outgoing<A::Message>,
    S: Storage<A::Record>,
    M: StateMachine,
{
    /// Whether a leader's word is believed, and what our clients propose goes to it. Where nodes may lie it is proposed here, and our
    /// own algorithm says what came of it.
    const FORWARDS: bool = !matches!(A::GUARANTEES.faults, Faults::Byzantine);

    pub(crate) fn new(
        config: &GroupConfig<A>,
        mut node: Node<A, N, S, M>,
        client: ClientId,
        clock: Clock,
        mailbox: Arc<Mailbox<A::Message>>,
    ) -> Self {
        let shared = Arc::clone(&mailbox.shared);
        let (status, applied) = (node.status(), node.applied());
        let leader = status.leader;
        node.network().follow(&status.members);
        shared.applied.store(applied.0, Release);
        shared.view.send_replace(View { status, applied });
        Self {
            me: shared.node,
            leader,
            node,
            clock,
            mailbox,
            shared,
            mail: Mail::default(),
            proposals: Proposals::new(client),
            adopted: Adopted::new(config.limits.forwarded),
            reads: Reads::new(config.read_retry()),
            request_timeout: config.request_timeout(),
            sweep_at: None,
            dirty: true,
            replies: Vec::new(),
        }
    }

    fn is_busy(&self) -> bool {
        self.proposals.len() + self.adopted.len() + self.reads.len() > 1
    }

    fn next_wake(&self) -> Option<Time> {
        [self.node.deadline(), self.sweep_at].into_iter().flatten().min()
    }

    /// One burst, from events to replies; how many events it had.
    fn burst(&mut self, takes_mail: bool) -> Result<usize, NodeError> {
        if takes_mail && self.mail.inbound.is_empty() {
            // Whoever rang has put something in, or the storage has news: the node asks it at the end of every burst.
            self.dirty |= self.mailbox.take(&mut self.mail);
        }
        // Read after everything that is handled had arrived, never before: an algorithm may answer a read because it leads at this
        // moment, which must not lie before the read's arrival (Raft's leases).
        let now = self.clock.now();
        let mut events = 0;
        for (peer, news) in std::mem::take(&mut self.mail.news) {
            self.on_news(now, peer, news)?;
            events += 1;
        }
        while takes_mail
            && events < BURST
            && let Some(inbound) = self.mail.inbound.pop_front()
        {
            events += inbound.size();
            self.on_inbound(now, inbound)?;
        }
        if events < KEPT_MAIL && self.mail.inbound.capacity() > KEPT_MAIL {
            self.mail.inbound.shrink_to(KEPT_MAIL);
        }
        add(&self.shared.metrics.bursts, 1);
        add(&self.shared.metrics.events, events);
        if self.node.deadline().is_some_and(|deadline| deadline <= now) {
            self.push(now, Event::Tick)?;
        }
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.sweep(now)?;
        }
        while self.dirty {
            if let Some(id) = self.reads.begin_round(now) {
                add(&self.shared.metrics.read_rounds, 1);
                self.node.push(now, Event::Read(id))?;
            }
            self.dirty = false;
            self.node.flush(now)?;
            self.write_snapshot();
            self.route_replies(now);
            self.publish(now)?;
            if let Some(members) = self.node.take_members() {
                tracing::info!(node = %self.me, group = %self.shared.group, ?members, "other members");
                self.node.network().follow(&members);
            }
        }
        self.proposals.finish_settled(self.node.applied());
        self.node.network().transmit();
        self.plan_sweep(now);
        Ok(events)
    }

    fn push(&mut self, now: Time, event: Event<A::Message>) -> Result<(), NodeError> {
        self.dirty = true;
        self.node.push(now, event)
    }

    fn on_inbound(&mut self, now: Time, inbound: Inbound<A::Message>) -> Result<(), NodeError> {
        match inbound {
            Inbound::Peer { from, frames, held } => {
                for frame in frames {
                    self.on_frame(now, from, frame)?;
                }
                drop(held);
            }
            Inbound::Propose { ask, number, answer } => {
                add(&self.shared.metrics.proposals, 1);
                // A number of the client's own is the same at all replicas that it asks.
                let name = |own, next, ask: &Ask| match number {
                    Some(number) => A::name(ClientId::default(), number, ask.payload()),
                    None => A::name(own, next, ask.payload()),
                };
                let number = self.proposals.add(ask, name, answer, now + self.request_timeout);
                self.route(now, number)?;
            }
            Inbound::Read(read) => {
                add(&self.shared.metrics.reads, 1);
                self.reads.add(read, now + self.request_timeout);
                self.dirty = true;
            }
            Inbound::Query { request, answer } => answer.give(Ok(self.node.machine().query(&request))),
            Inbound::Inspect { answer } => answer.give(Ok(self.statement())),
            Inbound::Snapshot(written) => self.push(now, written)?,
            Inbound::Transfer { to } => self.on_transfer(now, to)?,
        }
        Ok(())
    }

    /// A snapshot that was begun is written out on a thread for it, however large it is: this group goes on, and so do others of its lane.
    fn write_snapshot(&mut self) {
        let Some(pending) = self.node.take_pending_snapshot() else { return };
        let mailbox = Arc::clone(&self.mailbox);
        tokio::task::spawn_blocking(move || mailbox.push(Inbound::Snapshot(pending.write())));
    }

    fn statement(&self) -> Statement {
        let (status, applied) = (self.node.status(), self.node.applied());
        Statement { algorithm: A::NAME, status, applied, inspection: self.node.algorithm().inspect() }
    }

    fn on_news(&mut self, now: Time, peer: NodeId, news: News) -> Result<(), NodeError> {
        if news.lost {
            self.proposals.lose(|to| to == peer);
            self.adopted.lose(peer);
        }
        if let Some(suspected) = news.suspected {
            self.push(now, Event::Suspect { peer, suspected })?;
        }
        if news.up && self.leader == Some(peer) {
            self.try_again(now)?;
        }
        Ok(())
    }

    fn on_frame(&mut self, now: Time, from: NodeId, frame: FromPeer<A::Message>) -> Result<(), NodeError> {
        match frame {
            FromPeer::Message(message) => self.push(now, Event::Screened { from, message }),
            FromPeer::Forward(forward) => self.on_forward(now, from, forward),
            FromPeer::ForwardReply(reply) => self.on_forward_reply(now, from, reply),
        }
    }

    /// A peer's client wants something decided, and the peer takes us for the leader. The algorithm knows whether we are.
    fn on_forward(&mut self, now: Time, from: NodeId, forward: Forward) -> Result<(), NodeError> {
        let Forward { attempt, id, ask } = forward;
        if !Self::FORWARDS {
            let reply = ForwardReply { attempt, id, result: Err(Refusal::Unsupported) };
            self.node.network().reply(from, reply);
            return Ok(());
        }
        let event = match ask {
            Ask::Propose(payload) => Event::Propose { id, payload },
            Ask::Reconfigure(change) => Event::Reconfigure { id, change },
            Ask::Transfer(to) => return self.push(now, Event::Transfer { to }),
        };
        add(&self.shared.metrics.proposals_adopted, 1);
        if self.adopted.add(id, from, attempt, now + self.request_timeout) {
            return self.push(now, event);
        }
        let reply = ForwardReply { attempt, id, result: Err(Refusal::Busy) };
        self.node.network().reply(from, reply);
        Ok(())
    }

    fn on_forward_reply(&mut self, now: Time, from: NodeId, reply: ForwardReply) -> Result<(), NodeError> {
        let ForwardReply { attempt, id, result } = reply;
        let Some(number) = self.proposals.own(id) else { return Ok(()) };
        if !self.proposals.awaits(number, from, attempt) {
            return Ok(());
        }
        match result {
            Ok(Settled { slot, outcome }) if slot <= self.node.applied() => {
                self.proposals.finish(number, slot, outcome);
                Ok(())
            }
            Ok(Settled { slot, outcome }) => {
                self.proposals.settle(number, slot, outcome);
                Ok(())
            }
            Err(Refusal::NotLeader { hint: Some(hint) }) if hint != from && hint != self.me => {
                self.forward(now, number, hint);
                Ok(())
            }
            Err(reason) => {
                self.on_refused(now, number, reason);
                Ok(())
            }
        }
    }

    fn on_transfer(&mut self, now: Time, to: Option<NodeId>) -> Result<(), NodeError> {
        match self.leader {
            Some(leader) if leader != self.me && Self::FORWARDS => {
                // It is a wish: whoever made it watches the leadership, and nothing waits for an answer.
                let (attempt, id) = (0, ProposalId::default());
                self.node.network().forward(leader, Forward { attempt, id, ask: Ask::Transfer(to) });
                Ok(())
            }
            Some(_) | None => self.push(now, Event::Transfer { to }),
        }
    }

    /// Hands a proposal that nobody has to whoever can have it decided.
    fn route(&mut self, now: Time, number: u64) -> Result<(), NodeError> {
        if let Some(leader) = self.leader.filter(|&leader| leader != self.me && Self::FORWARDS) {
            self.forward(now, number, leader);
            return Ok(());
        }
        let Some(proposal) = self.proposals.get_mut(number) else { return Ok(()) };
        proposal.stage = Stage::Local;
        let id = proposal.id;
        let event = match &proposal.ask {
            Ask::Propose(payload) => Event::Propose { id, payload: payload.clone() },
            Ask::Reconfigure(change) => Event::Reconfigure { id, change: change.clone() },
            Ask::Transfer(to) => Event::Transfer { to: *to },
        };
        self.push(now, event)
    }

    fn forward(&mut self, now: Time, number: u64, to: NodeId) {
        let attempt = self.proposals.next_attempt();
        let Some(proposal) = self.proposals.get_mut(number) else { return };
        let network = self.node.network();
        if !network.is_up(to) {
            self.proposals.park(number);
            return self.expect_sweep(now);
        }
        let forward = Forward { attempt, id: proposal.id, ask: proposal.ask.clone() };
        if network.forward(to, forward) {
            proposal.stage = Stage::Forwarded { to, attempt };
            add(&self.shared.metrics.proposals_forwarded, 1);
        } else {
            // The queue is full: the leader is behind, and more would not help.
            self.proposals.fail(number, RequestError::Refused(Refusal::Busy));
        }
    }

    fn on_refused(&mut self, now: Time, number: u64, reason: Refusal) {
        if matches!(reason, Refusal::NotLeader { .. }) {
            self.proposals.park(number);
            self.expect_sweep(now);
        } else if reason == Refusal::Interrupted {
            self.proposals.fail(number, RequestError::LeaderLost);
        } else {
            // An answer that another attempt would not change.
            self.proposals.fail(number, RequestError::Refused(reason));
        }
    }

    fn route_replies(&mut self, now: Time) {
        let mut replies = std::mem::take(&mut self.replies);
        replies.extend(self.node.replies());
        for reply in replies.drain(..) {
            match reply {
                Reply::Done { id, slot, outcome } => {
                    if let Some(number) = self.proposals.own(id) {
                        self.proposals.finish(number, slot, outcome);
                    } else {
                        let settled = || Ok(Settled { slot, outcome: outcome.into() });
                        self.answer_adopted(id, settled);
                    }
                }
                Reply::Refused { id, reason } => {
                    if let Some(number) = self.proposals.own(id) {
                        self.on_refused(now, number, reason);
                    } else {
                        self.answer_adopted(id, || Err(reason));
                    }
                }
                Reply::ReadReady { id, at } => self.serve(id, at),
                Reply::ReadRefused { id, reason } => {
                    self.reads.refuse(id, &reason);
                    self.expect_sweep(now);
                }
            }
        }
        self.replies = replies;
        for note in self.node.notes() {
            chronicle::record(&self.shared, note);
        }
        for (peer, offence) in self.node.accusations() {
            add(&self.shared.metrics.accusations, 1);
            tracing::warn!(%peer, group = %self.shared.group, ?offence, "a peer broke the protocol");
        }
    }

    fn answer_adopted(&mut self, id: ProposalId, result: impl FnOnce() -> Result<Settled, Refusal>) {
        if let Some(origin) = self.adopted.take(id) {
            let reply = ForwardReply { attempt: origin.attempt, id, result: result() };
            self.node.network().reply(origin.peer, reply);
        }
    }

    fn serve(&mut self, id: consensus_core::ReadId, at: Slot) {
        for read in self.reads.finish(id) {
            match read {
                Read::Barrier(answer) => answer.give(Ok(at)),
                Read::Query { request, answer } => answer.give(Ok(self.node.machine().query(&request))),
            }
        }
    }

    /// Shows what has changed, and follows a change of leader.
    fn publish(&mut self, now: Time) -> Result<(), NodeError> {
        let (status, applied) = (self.node.status(), self.node.applied());
        self.shared.applied.store(applied.0, Release);
        let (leader, epoch) = (status.leader, status.epoch);
        let view = View { status, applied };
        self.shared.view.send_if_modified(|shown| {
            let news = *shown != view;
            if news {
                *shown = view;
            }
            news
        });
        if leader == self.leader {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.leader, leader);
        add(&self.shared.metrics.leader_changes, 1);
        // A field is left out if there is nobody.
        let (old, new) = (before.map(tracing::field::display), leader.map(tracing::field::display));
        tracing::info!(node = %self.me, group = %self.shared.group, before = old, leader = new, %epoch, "the leader changed");
        self.proposals.lose(|to| Some(to) != leader);
        if leader.is_some() { self.try_again(now) } else { Ok(()) }
    }

    /// There is a (new) way to a leader: what was put aside goes there, and reads are asked for again.
    fn try_again(&mut self, now: Time) -> Result<(), NodeError> {
        for number in self.proposals.unpark() {
            self.route(now, number)?;
        }
        if !self.reads.is_empty() {
            self.reads.restart();
            self.dirty = true;
        }
        Ok(())
    }

    fn sweep(&mut self, now: Time) -> Result<(), NodeError> {
        self.sweep_at = None;
        self.proposals.sweep(now);
        self.adopted.sweep(now);
        for number in self.proposals.unpark() {
            self.route(now, number)?;
        }
        self.reads.sweep(now);
        self.dirty = true;
        Ok(())
    }

    /// Something was put aside: look at it soon.
    fn expect_sweep(&mut self, now: Time) {
        let soon = now + RETRY;
        self.sweep_at = Some(self.sweep_at.map_or(soon, |at| at.min(soon)));
    }

    /// Wakes up for deadlines only while there are requests.
    fn plan_sweep(&mut self, now: Time) {
        let quiet = self.proposals.len() + self.adopted.len() == 0 && self.reads.is_empty();
        if quiet {
            self.sweep_at = None;
        } else if self.sweep_at.is_none() {
            let put_aside = self.proposals.has_parked() || self.reads.has_parked();
            self.sweep_at = Some(now + if put_aside { RETRY } else { SWEEP });
        }
    }
}

impl<A, N, S, M> Resident for Driver<A, N, S, M>
where
    A: Runnable,
    N: Outgoing<A::Message> + Send,
    S: Storage<A::Record> + Send,
    M: StateMachine + Send,
{
    fn turn(&mut self, takes_mail: bool) -> Turn {
        if let Some(reason) = self.shared.end.asked() {
            return Turn { over: Some(reason), ..Turn::default() };
        }
        match self.burst(takes_mail) {
            Ok(events) => Turn {
                alarm: self.next_wake(),
                has_more: !self.mail.inbound.is_empty(),
                is_busy: self.is_busy(),
                events,
                over: None,
            },
            Err(error) => {
                let reason = StopReason::Failed(error.to_string());
                tracing::error!(node = %self.me, group = %self.shared.group, %error, "the replica stops: it cannot go on safely");
                self.shared.ask_to_stop(reason.clone());
                Turn { over: Some(reason), ..Turn::default() }
            }
        }
    }
}

/// Whoever waits for an answer is told that there will be none.
impl<A: Runnable, N, S, M> Drop for Driver<A, N, S, M> {
    fn drop(&mut self) {
        self.mailbox.close();
    }
}
