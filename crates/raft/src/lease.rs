//! Leases: reads without a round of probes, where somebody vouches for the clocks (dissertation §6.4.1).
//!
//! Whoever hears a leader promises it not to help elect another for an election timeout. A leader that knows when a quorum
//! heard it at the earliest knows how long nobody else can lead, as far as its clock and theirs keep the same pace.
//!
//! *Why it holds.* Suppose that a leader of term t judges at the moment r that it holds a lease, by probes that left at s or
//! later, and that somebody was elected in a later term before r; take the first who was. An entry of term t is committed, so
//! the winner's log has it, and names the leader's newest members or those before: quorums of the two share a voter [R35]. That
//! voter echoed such a probe and voted for the winner, in this order, for afterwards it hears nobody of term t. It was not called
//! to: the leader of term t holds no lease once it has called [R46], and a leader of a later term would have been elected before
//! the first. So it voted more than T after it heard the leader, on its own clock [R44], or more than T after a restart in
//! between [R45]: later than s + T/(1 + ρ). But the leader's clock counted less than T (1 − ρ)/(1 + ρ) from s to r, so r is
//! earlier than s + T/(1 + ρ).
//!
//! Invariant: a lease is counted from when a probe left, never from when its echo came.

use crate::config::Config;
use crate::leader::Leader;
use crate::mutant::Mutant;
use crate::state::Core;
use crate::votes;
use consensus_core::{Epoch, Time, lease};
use core::time::Duration;

impl Leader {
    /// [R43] Whether nobody else can have been elected by `now`, a moment after the reads in question arrived [R47].
    pub(crate) fn holds_lease(&self, now: Time, core: &Core) -> bool {
        let Some(length) = core.config.lease() else { return false };
        let vouched = |node| {
            let peer = self.peers.iter().find(|peer| peer.id == node);
            lease::mark(if node == core.id { Some(now) } else { peer.and_then(|peer| peer.vouched) })
        };
        let mut since = votes::reached_by_quorum(&core.members, vouched);
        if core.config.plants(Mutant::LeaseFromOneEcho) {
            since = self.peers.iter().map(|peer| lease::mark(peer.vouched)).max().unwrap_or(since);
        }
        lease::stands(since, length, now)
            && (!self.lease.is_forfeit() || core.config.plants(Mutant::LeaseOutlivesCall))
    }
}

impl Config {
    /// [R43] How long a lease lasts on the leader's clock, from when the probe left. `None`: there are none.
    pub(crate) fn lease(&self) -> Option<Duration> {
        let timeout = self.election_timeout();
        if self.plants(Mutant::LeaseIgnoresDrift) {
            return self.lease_drift_ppm.map(|_| timeout);
        }
        self.lease_drift_ppm.map(|drift| lease::length(timeout, drift))
    }
}

impl Core {
    /// [R44] Until when we promised a leader not to help elect another; `None`: we promised nothing.
    pub(crate) fn bound_until(&self) -> Option<Time> {
        self.config.lease_drift_ppm?;
        Some(self.promised? + self.config.election_timeout())
    }

    /// [R45] Whether an earlier boot may have promised a leader what we no longer know. Who never knew a term has heard none.
    pub(crate) fn may_be_bound(&self) -> bool {
        let forgets = self.config.plants(Mutant::PromiseForgottenInCrash);
        self.config.lease_drift_ppm.is_some() && self.term > Epoch::ZERO && !forgets
    }

    /// [R44] Whether we promised a leader not to help elect another.
    pub(crate) fn is_bound(&self, now: Time) -> bool {
        self.bound_until().is_some_and(|until| now < until)
    }
}
