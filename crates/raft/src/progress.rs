//! What a leader knows of one follower, and how it feeds it.
//!
//! A follower is *probed* until the place is found where the logs agree, one append at a time; then it is *replicated* to,
//! with a window of appends in flight; one that needs what the log has forgotten is sent the *snapshot*.
//!
//! Invariants: `next > matched`; what is in flight lies in `matched+1 .. next`; the byte counter is the sum over the window.

use crate::config::Config;
use crate::outgoing::Outgoing;
use alloc::boxed::Box;
use consensus_core::{NodeId, Slot, Time, Window};

/// A leader's view of one follower.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) id: NodeId,
    /// The follower's log equals ours up to here, durably.
    pub(crate) matched: Slot,
    /// The next slot to send.
    pub(crate) next: Slot,
    pub(crate) mode: Mode,
    /// [R15] The appends in flight.
    pub(crate) window: Window,
    /// The commit index that was last sent.
    pub(crate) commit_sent: Slot,
    /// Where it was last told to read under a lease: it must hear that this is committed. [R20]
    pub(crate) reads_at: Slot,
    /// When it was last sent an append.
    pub(crate) spoken_to: Time,
    /// The newest probe that was sent.
    pub(crate) probe_sent: u64,
    /// The newest probe that was echoed.
    pub(crate) probe_echoed: u64,
    /// When the newest probe that it echoed left at the earliest, if that is known: it has heard us since.
    pub(crate) vouched: Option<Time>,
    /// Whether it was heard since the last check of the quorum.
    pub(crate) is_active: bool,
    /// Whether it declined to lead since then.
    pub(crate) has_declined: bool,
    /// Whether it was heard between the last two checks.
    pub(crate) was_active: bool,
    /// The probe with which its stay began: what it said without having seen that is of an earlier one.
    pub(crate) stay: u64,
    /// It refused although it holds this much, which it may have done before it did; whoever has seen this probe has no such excuse.
    pub(crate) denied: Option<(Slot, u64)>,
    /// A witness: the last slot that it may know of now.
    pub(crate) bound: Option<Slot>,
}

/// How a follower is fed.
#[derive(Clone, Debug)]
pub(crate) enum Mode {
    /// Looking for the place where the logs agree.
    Probe {
        /// An append is on its way; wait for the answer or the next heartbeat.
        is_waiting: bool,
    },
    /// The place is known; appends are pipelined.
    Replicate,
    /// It needs a snapshot.
    /// (Boxed: it is large and rare, and every follower's state is as large as the largest.)
    Snapshot(Box<Outgoing>),
}

impl Progress {
    pub(crate) const fn new(id: NodeId, last: Slot) -> Self {
        Self {
            id,
            matched: Slot::ZERO,
            next: last.next(),
            mode: Mode::Probe { is_waiting: false },
            window: Window::new(),
            commit_sent: Slot::ZERO,
            reads_at: Slot::ZERO,
            spoken_to: Time::ZERO,
            // No read waits for the first probe.
            probe_sent: 1,
            probe_echoed: 0,
            vouched: None,
            is_active: true,
            has_declined: false,
            was_active: false,
            stay: 0,
            denied: None,
            bound: None,
        }
    }

    /// Whether it was heard within an election timeout or two.
    pub(crate) const fn answers(&self) -> bool {
        self.is_active || self.was_active
    }

    /// An append left, with these in it.
    pub(crate) fn note_append(&mut self, probe: u64, commit: Slot, now: Time) {
        self.probe_sent = self.probe_sent.max(probe);
        (self.commit_sent, self.spoken_to) = (commit, now);
    }

    pub(crate) fn become_probe(&mut self, next: Slot) {
        self.mode = Mode::Probe { is_waiting: false };
        self.window.clear();
        self.next = next.max(self.matched.next());
    }

    pub(crate) fn become_replicate(&mut self) {
        self.mode = Mode::Replicate;
        self.window.clear();
        self.next = self.matched.next();
    }

    pub(crate) fn become_snapshot(&mut self, outgoing: Outgoing) {
        self.window.clear();
        self.next = self.matched.next();
        self.mode = Mode::Snapshot(Box::new(outgoing));
    }

    /// The follower holds everything up to `matched`; `base` is where our log begins. [R14]
    pub(crate) fn on_accepted(&mut self, matched: Slot, base: Slot) {
        self.matched = self.matched.max(matched);
        self.window.arrived(self.matched);
        self.next = self.next.max(self.matched.next());
        match &self.mode {
            Mode::Probe { .. } => self.become_replicate(),
            Mode::Replicate => {}
            // It has what it lacked, from us or from its own disk. If our log was cut further meanwhile, the next append finds
            // that out and turns to the newer snapshot.
            Mode::Snapshot(outgoing) if self.matched >= base.min(outgoing.through()) => {
                self.become_replicate()
            }
            Mode::Snapshot(_) => {}
        }
    }

    /// Whether the refusal of an append behind `prev` tells something new. [R14]
    pub(crate) fn heeds_rejection(&self, prev: Slot) -> bool {
        match self.mode {
            // Below that it holds everything, whatever it says.
            Mode::Probe { .. } => prev.next() == self.next && prev > self.matched,
            Mode::Replicate => prev > self.matched,
            Mode::Snapshot(_) => false,
        }
    }

    /// How many appends or pieces, and how many bytes, are in flight.
    pub(crate) fn in_flight(&self) -> (usize, usize) {
        match &self.mode {
            Mode::Probe { .. } | Mode::Replicate => (self.window.len(), self.window.bytes()),
            Mode::Snapshot(outgoing) => (outgoing.pieces_in_flight(), outgoing.bytes_in_flight()),
        }
    }

    /// [R55] A refusal that names `hint` as the last place that can match. True if it proves that what was acknowledged is gone: it
    /// was said after a probe had been seen that was chosen after the acknowledgement had arrived. `choose` chooses such a probe.
    pub(crate) fn is_denial(&mut self, hint: Slot, probe: u64, choose: impl FnOnce() -> u64) -> bool {
        if hint >= self.matched {
            return false;
        }
        let is_proven = self.denied.is_some_and(|(held, since)| hint < held && probe >= since);
        if is_proven || self.denied.is_none_or(|(held, _)| hint >= held) {
            self.denied = (!is_proven).then(|| (self.matched, choose()));
        }
        is_proven
    }

    pub(crate) fn assert_invariants(&self, last: Slot, config: &Config) {
        if let Some(outgoing) = self.outgoing() {
            outgoing.assert_invariants(config);
        }
        assert!(self.matched <= last, "a follower holds more than its leader");
        assert!(self.next > self.matched, "what a follower holds is sent again");
        self.window.assert_invariants(self.matched, self.next);
    }
}

impl Progress {
    /// Whether it may be sent one more append. [R15]
    #[inline]
    pub(crate) fn has_room(&self, config: &Config) -> bool {
        self.window.has_room(config.max_in_flight_appends, config.max_in_flight_bytes)
    }
}
