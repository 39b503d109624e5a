//! What a leader knows of another node, and how it feeds it.
//!
//! Everything that the leader proposes is sent to everybody, behind a window of accepts in flight. What got lost shows as a hole
//! in front of what was accepted, and is sent again. What was chosen before this ballot, or is cut off, is not sent at all: who
//! lacks it asks for it, while it already accepts what is new.
//!
//! Invariants: `next > matched`; what is in flight lies in `matched+1 .. next`; the byte counter is the sum over the window.

use crate::config::Config;
use crate::message::{Accept, Heartbeat, Message};
use crate::mutant::Mutant;
use crate::state::Core;
use crate::step::Out;
use crate::value::Values;
use consensus_core::{NodeId, Slot, Time, Window};

/// A leader's view of another node.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) id: NodeId,
    /// It holds everything that was proposed in this ballot up to here, durably, or knows it to be chosen.
    pub(crate) matched: Slot,
    /// The next slot to send.
    pub(crate) next: Slot,
    /// It knows that everything up to here is chosen.
    pub(crate) chosen: Slot,
    /// [P10] The accepts in flight.
    pub(crate) window: Window,
    /// Holes up to here were filled since the last heartbeat.
    filled: Slot,
    /// The mark that was last sent.
    pub(crate) mark_sent: Slot,
    /// Where it was last told to read under a lease: it must hear that this is chosen. [P27]
    pub(crate) reads_at: Slot,
    /// The newest probe that was sent.
    pub(crate) probe_sent: u64,
    /// The newest probe that was echoed.
    pub(crate) probe_echoed: u64,
    /// When that left, or a little before; only with leases. [P32]
    pub(crate) vouched: Option<Time>,
    /// When it was last heard.
    pub(crate) heard: Time,
    /// Whether it declined to lead.
    pub(crate) has_declined: bool,
}

impl Progress {
    /// Nothing is known of the node; `before` is the last slot before those of this ballot.
    pub(crate) const fn new(id: NodeId, before: Slot, now: Time) -> Self {
        Self {
            id,
            matched: before,
            next: before.next(),
            chosen: Slot::ZERO,
            window: Window::new(),
            filled: Slot::ZERO,
            mark_sent: Slot::ZERO,
            reads_at: Slot::ZERO,
            // No read waits for the first probe.
            probe_sent: 1,
            probe_echoed: 0,
            vouched: None,
            heard: now,
            has_declined: false,
        }
    }

    /// It holds what lies from `first` to `durable`, and knows what is chosen up to `chosen`.
    #[inline]
    pub(crate) fn on_accepted(&mut self, first: Slot, durable: Slot, chosen: Slot, config: &Config) {
        self.chosen = self.chosen.max(chosen);
        self.matched = self.matched.max(chosen);
        if first <= self.matched.next() || config.plants(Mutant::HolesCounted) {
            self.matched = self.matched.max(durable);
        }
        self.window.arrived(self.matched);
        self.next = self.next.max(self.matched.next());
    }

    pub(crate) fn assert_invariants(&self, last: Slot) {
        assert!(self.matched <= last, "a node holds more than was proposed");
        assert!(self.next > self.matched, "what a node holds is sent again");
        self.window.assert_invariants(self.matched, self.next);
    }
}

/// Sends what a node lacks, as far as its window allows; tells an idle one what was chosen. [P10] [P12]
#[inline]
pub(crate) fn feed(peer: &mut Progress, start: Slot, last: Slot, core: &Core, probe: u64, out: &mut Out) {
    // What is cut off must be asked for.
    peer.next = peer.next.max(core.log.base().next());
    while peer.next <= last && peer.has_room(&core.config) {
        let values = next_values(core, peer.next, last);
        let first = peer.next;
        peer.next = Slot(first.0 + values.len() as u64);
        peer.window.sent(Slot(peer.next.0 - 1), values.size());
        send_accept(peer, core, first, values, probe, out);
    }
    let is_idle = peer.window.is_empty() && peer.next > last;
    let mark = core.learner.mark;
    let probe = if peer.probe_sent < probe { probe } else { 0 };
    let is_told = core.config.eager_commit || peer.mark_sent < peer.reads_at; // [P27]
    if (is_told && is_idle && peer.mark_sent < mark) || probe > 0 {
        send_heartbeat_with(peer, start, core, probe, out);
    }
}

#[inline]
fn next_values(core: &Core, first: Slot, last: Slot) -> Values {
    core.log.slice(first, last, core.config.max_accept_values, core.config.max_accept_bytes)
}

/// [P6] Sends once more what lies before `through` and after what the node holds; each hole once per heartbeat interval.
pub(crate) fn fill_hole(
    peer: &mut Progress,
    start: Slot,
    through: Slot,
    core: &Core,
    probe: u64,
    out: &mut Out,
) {
    let mut first = peer.matched.max(peer.filled).max(core.log.base()).next().max(start);
    peer.filled = peer.filled.max(through);
    while first <= through && first < peer.next {
        let values = next_values(core, first, through);
        if values.is_empty() {
            return;
        }
        let next = Slot(first.0 + values.len() as u64);
        send_accept(peer, core, first, values, probe, out);
        first = next;
    }
}

#[inline]
fn send_accept(peer: &mut Progress, core: &Core, first: Slot, values: Values, probe: u64, out: &mut Out) {
    let probe = if peer.probe_sent < probe { probe } else { 0 };
    peer.probe_sent = peer.probe_sent.max(probe);
    peer.mark_sent = core.learner.mark;
    let accept = Accept {
        configuration: core.configuration.number,
        ballot: core.promised.ballot(),
        first,
        chosen: core.learner.mark,
        probe,
        values,
    };
    // EARLY: only we propose in our ballot, and never again after a crash: it is durable that we led it. What we forget is what we
    // did not count ourselves for.
    out.send_early(peer.id, Message::Accept(accept));
}

/// [P9] A node that lacks some of what was sent to it says so.
pub(crate) fn send_heartbeat(peer: &mut Progress, start: Slot, core: &Core, probe: u64, out: &mut Out) {
    peer.filled = Slot::ZERO;
    send_heartbeat_with(peer, start, core, probe, out);
}

/// [P39] The configuration `sealed` has come to its end: the last that its leader says there.
pub(crate) fn send_last_heartbeat(peer: &Progress, start: Slot, sealed: u64, core: &Core, out: &mut Out) {
    let heartbeat = Heartbeat { configuration: sealed, ..heartbeat(peer, start, core, 0) };
    // EARLY: it says nothing but our ballot, which is durable since before we led it, and what a quorum holds.
    out.send_early(peer.id, Message::Heartbeat(heartbeat));
}

fn send_heartbeat_with(peer: &mut Progress, start: Slot, core: &Core, probe: u64, out: &mut Out) {
    peer.probe_sent = peer.probe_sent.max(probe);
    peer.mark_sent = core.learner.mark;
    let heartbeat = heartbeat(peer, start, core, probe);
    // EARLY: it says nothing but our ballot, which is durable since before we led it, and what a quorum holds.
    out.send_early(peer.id, Message::Heartbeat(heartbeat));
}

fn heartbeat(peer: &Progress, start: Slot, core: &Core, probe: u64) -> Heartbeat {
    Heartbeat {
        configuration: core.configuration.number,
        ballot: core.promised.ballot(),
        start: start.max(core.log.base().next()),
        next: peer.next,
        chosen: core.learner.mark,
        probe,
    }
}

impl Progress {
    /// Whether it may be sent one more accept. [P10]
    #[inline]
    fn has_room(&self, config: &Config) -> bool {
        self.window.has_room(config.max_in_flight_accepts, config.max_in_flight_bytes)
    }
}
