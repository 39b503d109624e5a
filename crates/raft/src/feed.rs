//! What a follower is sent: appends and heartbeats. When, and how much, is written down in
//! [`crate::progress`]; that it arrives is known from the answers alone.

use crate::entry::{Entries, Position};
use crate::message::{Append, Message};
use crate::mutant::Mutant;
use crate::progress::{Mode, Progress};
use crate::state::Core;
use crate::step::Out;
use consensus_core::{Slot, Time};

/// What the appends of a burst have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Burst {
    pub(crate) now: Time,
    /// The newest probe, carried by the next append to everybody.
    pub(crate) probe: u64,
    /// The newest probe that reads wait for: it does not wait for the next append.
    pub(crate) awaited: u64,
    /// Whether heartbeats offer rest.
    pub(crate) offers_rest: bool,
}

impl Burst {
    /// The probe to be answered by a follower that was not sent it before.
    const fn news(&self, peer: &Progress) -> u64 {
        if peer.probe_sent < self.probe { self.probe } else { 0 }
    }
}

/// Sends what a follower lacks, as far as its window allows; tells an idle one of the commit index. [R15] [R27]
#[inline]
pub(crate) fn feed(peer: &mut Progress, core: &Core, burst: Burst, out: &mut Out) {
    match &peer.mode {
        Mode::Replicate => replicate(peer, core, burst, out),
        Mode::Probe { is_waiting: true } => {}
        Mode::Probe { is_waiting: false } => try_place(peer, core, burst, out),
        // Its pieces leave behind everything else. [R51]
        Mode::Snapshot(_) => {}
    }
}

fn replicate(peer: &mut Progress, core: &Core, burst: Burst, out: &mut Out) {
    let last = peer.reach(core.log.last().slot);
    if peer.next > last || !peer.has_room(&core.config) {
        return tell_idle(peer, core, burst, out);
    }
    while peer.next <= last && peer.has_room(&core.config) {
        let Some((prev, entries)) = next_entries(peer, core) else {
            return peer.turn_to_snapshot(core, out);
        };
        let end = Slot(prev.slot.0 + entries.len() as u64);
        peer.window.sent(end, entries.size());
        peer.next = end.next();
        send_append(peer, core, prev, burst, entries, out);
    }
}

/// One append on trial: it is not counted on, and the answer tells where to go on.
fn try_place(peer: &mut Progress, core: &Core, burst: Burst, out: &mut Out) {
    let Some((prev, entries)) = next_entries(peer, core) else {
        return peer.turn_to_snapshot(core, out);
    };
    peer.mode = Mode::Probe { is_waiting: true };
    if entries.is_empty() {
        // A trial wants an answer even if there is nothing to append: to the newest probe, if need be again.
        peer.probe_sent = 0;
    }
    send_append(peer, core, prev, burst, entries, out);
}

/// What it lacks next, and what precedes that; none if our log has forgotten it.
#[inline]
fn next_entries(peer: &Progress, core: &Core) -> Option<(Position, Entries)> {
    let (max_entries, max_bytes) = (core.config.max_append_entries, core.config.max_append_bytes);
    let (prev, entries) = core.log.behind(peer.next, max_entries, max_bytes)?;
    Some((prev, peer.share(prev.slot, entries)))
}

#[inline]
fn send_append(
    peer: &mut Progress,
    core: &Core,
    prev: Position,
    burst: Burst,
    entries: Entries,
    out: &mut Out,
) {
    let probe = burst.news(peer);
    peer.note_append(probe, core.commit, burst.now);
    let append = Append { term: core.term, prev, commit: core.commit, probe, entries };
    // EARLY: only we append in our term, and we never lead it again after a crash; entries that we forget are ones that we
    // did not count, so they contradict nothing that we say later. Without entries it says nothing but our term, which is
    // durable since our election, and what a quorum holds.
    out.send_early(peer.id, if burst.offers_rest { Message::Rest(append) } else { Message::Append(append) });
}

/// A follower that lacks nothing hears of the commit index and of new probes.
#[inline]
fn tell_idle(peer: &mut Progress, core: &Core, burst: Burst, out: &mut Out) {
    let is_idle = peer.window.is_empty();
    let is_told = core.config.eager_commit || peer.commit_sent < peer.reads_at; // [R20]
    let has_news = is_told && is_idle && peer.commit_sent < core.commit.min(peer.matched);
    let is_awaited = peer.probe_sent < burst.awaited && !core.config.plants(Mutant::ReadsAwaitHeartbeat);
    if has_news || is_awaited {
        send_append(peer, core, place_behind(peer, core), burst, Entries::default(), out);
    }
}

/// [R16] A heartbeat is an append behind everything that was sent: a follower that lacks some of it says so.
pub(crate) fn send_heartbeat(peer: &mut Progress, core: &Core, burst: Burst, out: &mut Out) {
    if matches!(peer.mode, Mode::Snapshot(_)) {
        peer.review_snapshot(burst.now, core, out);
    } else if core.log.position(Slot(peer.next.0 - 1)).is_none() {
        // What is in flight may be lost, and cannot be sent again.
        peer.turn_to_snapshot(core, out);
    }
    send_append(peer, core, place_behind(peer, core), burst, Entries::default(), out);
}

/// The end of what was sent to it.
#[inline]
fn place_behind(peer: &Progress, core: &Core) -> Position {
    // Whoever waits for a snapshot agrees with us nowhere that we still know: an append behind nothing fits always, and
    // commits nothing.
    match &peer.mode {
        Mode::Snapshot(_) => Position::ZERO,
        _ if core.config.plants(Mutant::HeartbeatBehindNothing) => Position::ZERO,
        Mode::Probe { .. } | Mode::Replicate => {
            core.log.position(Slot(peer.next.0 - 1)).unwrap_or(Position::ZERO)
        }
    }
}

/// The last slot at which the logs can agree, after a refusal behind `prev`.
pub(crate) fn agreement(core: &Core, prev: Slot, hint: Position) -> Slot {
    // Strictly below `prev`: each refusal brings us further.
    let slot = hint.slot.min(Slot(prev.0.saturating_sub(1)));
    if slot < core.log.base().slot {
        return slot;
    }
    core.log.last_at_most(slot, hint.term).slot
}
