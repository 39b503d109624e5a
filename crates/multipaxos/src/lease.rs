//! Leases: reads without a round of probes, where somebody vouches for the clocks.
//!
//! Whoever hears a leader binds itself for an election timeout: until then it promises nobody else a ballot. A leader that knows
//! when a quorum of acceptances heard it at the earliest knows how long nobody else can get a quorum of promises, as far as its
//! clock and theirs keep the same pace.
//!
//! *Why it holds.* Suppose that the leader L of ballot b judges at the moment r that it holds a lease, by probes that left at s or
//! later, and that somebody had a quorum of promises for a ballot above b before r; take the first who had, and its ballot c. If c
//! was led in the same configuration, an acceptor A is both among those who promised c and among those who echoed such a probe:
//! it echoed first, for afterwards it hears nobody who leads b. When A promised c it was not let go by L: L would not have led b any
//! more [P33], or would have given its lease up [P35]. Nor by another, for it was L whom it heard last: a later leader in this
//! configuration would have been promised something before the first, and whoever is in a configuration hears nobody of an earlier
//! one, unless it forgot [P34]. So it promised more than T after it heard L, on its own clock [P33], or more than T after a restart in between [P34]:
//! later than s + T/(1 + ρ). But L's clock counted less than T (1 − ρ)/(1 + ρ) from s to r, so r is earlier than s + T/(1 + ρ). If c
//! was led in a later configuration, the stop-sign was chosen before: in ballot b, then L had proposed it and given its lease up
//! [P35]; in one above, then that had its quorum of promises before c had; in one below, then L knew it when it began to lead.
//!
//! Accepting what the leader of a higher ballot proposes needs no wait: that ballot has its quorum of promises, so whatever lease
//! there was is over. It is those who promise who guard it.

use crate::ballot::Ballot;
use crate::config::Config;
use crate::leader::Leader;
use crate::mutant::Mutant;
use crate::state::Core;
use consensus_core::{NodeId, Time, lease};
use core::time::Duration;

/// What an acceptor is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    /// The ballot whose leader was heard last.
    pub(crate) ballot: Ballot,
    /// When that was.
    since: Time,
}

impl Leader {
    /// [P32] Whether nobody else can have been promised a ballot by `now`, a moment after the reads in question arrived. [P36]
    pub(crate) fn holds_lease(&self, now: Time, core: &Core) -> bool {
        let Some(length) = core.config.lease() else { return false };
        let vouched = |node| {
            let peer = self.peers.iter().find(|peer| peer.id == node);
            lease::mark(if node == core.id { Some(now) } else { peer.and_then(|peer| peer.vouched) })
        };
        let is_forfeit = self.lease.is_forfeit() && !core.config.plants(Mutant::LeaseAfterCall);
        let is_given_up = is_forfeit || self.is_sealed; // [P35]
        lease::stands(core.configuration.reached(vouched), length, now) && !is_given_up
    }

    /// [P32] A heartbeat is about to leave; with leases it is a probe of its own.
    pub(crate) fn begin_probe(&mut self, now: Time, config: &Config) -> u64 {
        if config.lease_drift_ppm.is_some() {
            self.reads.begin_probe();
            self.lease.note_departure(self.reads.probe(), now, config.lease());
        }
        self.reads.probe()
    }
}

impl Config {
    /// [P32] How long a lease lasts on the leader's clock, from when the probe left. `None`: there are none.
    pub(crate) fn lease(&self) -> Option<Duration> {
        let timeout = self.election_timeout();
        if self.plants(Mutant::LeaseOfPerfectClocks) {
            return self.lease_drift_ppm.map(|_| timeout);
        }
        self.lease_drift_ppm.map(|drift| lease::length(timeout, drift))
    }
}

impl Core {
    /// [P33] The leader of `ballot` was heard, and may rely on us.
    #[inline]
    pub(crate) fn bind(&mut self, ballot: Ballot, now: Time) {
        self.bound = Some(Bound { ballot, since: now });
    }

    /// [P34] An earlier boot may have bound us to somebody whom we no longer know. Who never promised anything has heard nobody.
    pub(crate) fn bind_to_the_past(&mut self, now: Time) {
        let forgets = self.config.plants(Mutant::LeaseForgottenInCrash);
        if self.config.lease_drift_ppm.is_some() && self.promised.ballot() > Ballot::ZERO && !forgets {
            self.restarted = Some(now);
        }
    }

    /// [P34] Nobody lets us go from what we forgot: it may be of a later configuration than those that we know.
    pub(crate) fn is_bound_to_the_past(&self, now: Time) -> bool {
        self.restarted.is_some_and(|restarted| now < restarted + self.config.election_timeout())
    }

    /// Until when we promise nothing of ourselves; `None`: we are free.
    pub(crate) fn bound_until(&self) -> Option<Time> {
        self.config.lease_drift_ppm?;
        let since = self.restarted.max(self.bound.map(|bound| bound.since))?;
        Some(since + self.config.election_timeout())
    }

    /// [P33] Whether we must not promise `from` a ballot, to lead which it was called by the leader of ballot `called_by`.
    pub(crate) fn is_bound_against(&self, from: NodeId, called_by: Option<Ballot>, now: Time) -> bool {
        let is_over = self.bound_until().is_none_or(|until| until <= now);
        // [P35] It leads that ballot no more, or whoever does has given its lease up.
        let lets_go = |bound: Bound| bound.ballot.node == from || Some(bound.ballot) == called_by;
        let is_let_go = self.bound.is_some_and(lets_go) && !self.is_bound_to_the_past(now);
        !is_over && !is_let_go && !self.config.plants(Mutant::LeaseRefusesNobody)
    }
}
