//! What a follower is sent: appends, heartbeats, pieces of a snapshot. When, and how much, is written down in
//! [`crate::progress`]; that it arrives is known from the answers alone.

use crate::entry::{Entries, Position};
use crate::message::{Append, Message};
use crate::mutant::Mutant;
use crate::progress::{Mode, Progress};
use crate::state::Core;
use crate::step::Out;
use alloc::boxed::Box;
use consensus_core::{Bytes, Slot};

/// Sends what a follower lacks, as far as its window allows; tells an idle one of the commit index. [R15] [R27]
#[inline]
pub(crate) fn feed(peer: &mut Progress, core: &Core, probe: u64, out: &mut Out) {
    match &peer.mode {
        Mode::Replicate => replicate(peer, core, probe, out),
        Mode::Probe { is_waiting: true } => {}
        Mode::Probe { is_waiting: false } => try_place(peer, core, probe, out),
        Mode::Snapshot(_) => send_chunk(peer, core, out),
    }
}

fn replicate(peer: &mut Progress, core: &Core, probe: u64, out: &mut Out) {
    let last = peer.reach(core.log.last().slot);
    if peer.next > last || !peer.window.has_room(&core.config) {
        return tell_idle(peer, core, probe, out);
    }
    while peer.next <= last && peer.window.has_room(&core.config) {
        let Some((prev, entries)) = next_entries(peer, core) else {
            turn_to_snapshot(peer, core);
            return send_chunk(peer, core, out);
        };
        let end = Slot(prev.slot.0 + entries.len() as u64);
        peer.window.sent(end, entries.size());
        peer.next = end.next();
        let echo = if peer.probe_sent < probe { probe } else { 0 };
        send_append(peer, core, prev, echo, entries, out);
    }
}

/// One append on trial: it is not counted on, and the answer tells where to go on.
fn try_place(peer: &mut Progress, core: &Core, probe: u64, out: &mut Out) {
    let Some((prev, entries)) = next_entries(peer, core) else {
        turn_to_snapshot(peer, core);
        return send_chunk(peer, core, out);
    };
    peer.mode = Mode::Probe { is_waiting: true };
    // A trial wants an answer even if there is nothing to append.
    let echo = if entries.is_empty() || peer.probe_sent < probe { probe } else { 0 };
    send_append(peer, core, prev, echo, entries, out);
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
    probe: u64,
    entries: Entries,
    out: &mut Out,
) {
    peer.probe_sent = peer.probe_sent.max(probe);
    peer.commit_sent = core.commit;
    let append = Append { term: core.term, prev, commit: core.commit, probe, entries };
    // EARLY: only we append in our term, and we never lead it again after a crash; entries that we forget are ones that we
    // did not count, so they contradict nothing that we say later. Without entries it says nothing but our term, which is
    // durable since our election, and what a quorum holds.
    out.send_early(peer.id, Message::Append(append));
}

/// Our log has forgotten what the follower lacks. A log that forgot something has a snapshot of it.
fn turn_to_snapshot(peer: &mut Progress, core: &Core) {
    if let Some(snapshot) = &core.snapshot {
        // [R42] A witness needs to know where it ends, and no state.
        let bytes = if peer.bound.is_some() { Bytes::new() } else { snapshot.bytes.clone() };
        peer.become_snapshot(snapshot.through, snapshot.members.clone(), bytes);
    }
}

fn send_chunk(peer: &mut Progress, core: &Core, out: &mut Out) {
    let reach = peer.reach(core.log.last().slot);
    let Mode::Snapshot(transfer) = &mut peer.mode else { return };
    if transfer.through.slot <= reach && core::mem::take(&mut transfer.is_due) {
        let chunk = transfer.chunk(core);
        // EARLY: a snapshot holds what is committed; forgetting that we sent it contradicts nothing.
        out.send_early(peer.id, Message::Snapshot(Box::new(chunk)));
    }
}

/// A follower that lacks nothing hears of the commit index and of new probes.
#[inline]
fn tell_idle(peer: &mut Progress, core: &Core, probe: u64, out: &mut Out) {
    let is_idle = peer.window.is_empty();
    let has_news = core.config.eager_commit && is_idle && peer.commit_sent < core.commit.min(peer.matched);
    if has_news || peer.probe_sent < probe {
        let echo = if peer.probe_sent < probe { probe } else { 0 };
        send_append(peer, core, place_behind(peer, core), echo, Entries::default(), out);
    }
}

/// [R16] A heartbeat is an append behind everything that was sent: a follower that lacks some of it says so.
pub(crate) fn send_heartbeat(peer: &mut Progress, core: &Core, probe: u64, out: &mut Out) {
    if let Mode::Snapshot(transfer) = &mut peer.mode {
        // Nothing arrived for a whole interval: the piece or its answer was lost.
        transfer.is_due |= !core::mem::take(&mut transfer.has_moved);
    } else if core.log.position(Slot(peer.next.0 - 1)).is_none() {
        // What is in flight may be lost, and cannot be sent again.
        turn_to_snapshot(peer, core);
    }
    send_append(peer, core, place_behind(peer, core), probe, Entries::default(), out);
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
