//! What a person who looks for the cause of something wants to see of a replica, all at once.

use crate::host::Inner;
use crate::link::Link;
use crate::metrics::MetricsReading;
use consensus_core::{GroupId, Inspection, NodeId, PeerProgress, Slot, Status};
use std::fmt;
use std::time::Duration;

/// Where a replica stands. Its parts are read one after the other: they may be a few moments apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who it is.
    pub node: NodeId,
    /// Its group.
    pub group: GroupId,
    /// The name of its algorithm.
    pub algorithm: &'static str,
    /// Its role, leader, epoch and members, and the last slot that it knows to be decided.
    pub status: Status,
    /// The last slot that its state machine has seen.
    pub applied: Slot,
    /// What the algorithm keeps, and has waiting.
    pub inspection: Inspection,
    /// Requests of its own clients that are under way.
    pub requests: usize,
    /// Bytes of those requests.
    pub request_bytes: usize,
    /// The other members.
    pub peers: Vec<PeerReport>,
    /// Every counter since the start.
    pub metrics: MetricsReading,
}

/// Another member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerReport {
    /// Which.
    pub id: NodeId,
    /// The way to it; none in memory.
    pub link: Option<LinkReport>,
    /// How far it is, if we feed it.
    pub progress: Option<PeerProgress>,
}

/// The way to a peer and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkReport {
    /// Our connection to it stands.
    pub is_connected: bool,
    /// Its process is there: it hears us, and we hear it.
    pub is_there: bool,
    /// The group runs there, under the same algorithm.
    pub runs_group: bool,
    /// How long ago it was heard.
    pub silent_for: Duration,
    /// How long a pulse took to it and back, when it was measured last.
    pub round_trip: Option<Duration>,
    /// Bytes that wait to be sent to it, for all groups.
    pub queued_bytes: usize,
}

/// What only the replica itself can say.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) algorithm: &'static str,
    pub(crate) status: Status,
    pub(crate) applied: Slot,
    pub(crate) inspection: Inspection,
}

impl LinkReport {
    fn of(host: &Inner, link: &Link, group: GroupId, algorithm: &str) -> Self {
        let silent_for = host.clock.now().since(link.presence.heard());
        let (is_connected, queued_bytes) = (link.is_up(), link.queued_bytes());
        let state = link.presence.lock();
        Self {
            is_connected,
            is_there: state.is_there(),
            runs_group: state.has(group, algorithm),
            silent_for,
            round_trip: state.round_trip(),
            queued_bytes,
        }
    }
}

impl Statement {
    /// What is known of the other members, and of whoever else is fed.
    pub(crate) fn peers(&self, me: NodeId, group: GroupId, host: Option<&Inner>) -> Vec<PeerReport> {
        let fed = &self.inspection.peers;
        let mut ids: Vec<NodeId> =
            self.status.members.others(me).chain(fed.iter().map(|peer| peer.id)).collect();
        ids.sort_unstable();
        ids.dedup();
        let link = |id| {
            let host = host?;
            let link = host.contacts.links().get(id)?;
            Some(LinkReport::of(host, &link, group, self.algorithm))
        };
        let progress = |id| fed.iter().find(|peer| peer.id == id).copied();
        ids.into_iter().map(|id| PeerReport { id, link: link(id), progress: progress(id) }).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, group, algorithm, status, applied, inspection, .. } = self;
        write!(f, "{node} of {group} ({algorithm}): {:?} in {}", status.role, status.epoch)?;
        match status.leader {
            Some(leader) => writeln!(f, ", {leader} leads")?,
            None => writeln!(f, ", nobody leads")?,
        }
        let Inspection { first, last, durable, snapshot, queues, .. } = inspection;
        writeln!(f, "  decided {}, applied {applied}", status.decided)?;
        writeln!(f, "  keeps {first} to {last}, durable {durable}, snapshot {snapshot}")?;
        write!(f, "  waiting: {} requests ({} bytes)", self.requests, self.request_bytes)?;
        queues.iter().try_for_each(|(name, length)| write!(f, ", {length} {name}"))?;
        writeln!(f)?;
        self.peers.iter().try_for_each(|peer| writeln!(f, "  {peer}"))
    }
}

impl fmt::Display for PeerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)?;
        if let Some(link) = &self.link {
            let state = match (link.is_connected, link.is_there, link.runs_group) {
                (_, true, true) => "there",
                (_, true, false) => "there without the group",
                (true, false, _) => "connected, but silent",
                (false, false, _) => "away",
            };
            write!(f, ": {state}, heard {} ms ago", link.silent_for.as_millis())?;
            if let Some(round_trip) = link.round_trip {
                write!(f, ", round trip {} us", round_trip.as_micros())?;
            }
            write!(f, ", {} bytes queued", link.queued_bytes)?;
        }
        if let Some(PeerProgress { matched, next, mode, in_flight, in_flight_bytes, .. }) = &self.progress {
            write!(f, "; {mode}, matched {matched}, next {next}")?;
            write!(f, ", in flight {in_flight} ({in_flight_bytes} bytes)")?;
        }
        Ok(())
    }
}
