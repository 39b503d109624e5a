//! Disks that fail, machines that stand still, links that flap. Nothing here takes anything durable from more nodes than the
//! algorithm tolerates, so that every failure is a defect.

use super::{Happening, World};
use crate::clock::Clock;
use crate::disk::DiskFault;
use crate::mask::FaultClass;
use crate::network::Loss;
use crate::oracle::Property;
use crate::plan::Rhythm;
use crate::random::{MILLION, Stream};
use crate::record::{self, Happened};
use crate::storage::Rot;
use consensus_core::{ConsensusAlgorithm, NodeError, StorageError, Time, wire};
use core::time::Duration;

/// The most messages and requests that a paused machine keeps; more are lost, as a network may lose them.
const MAX_BACKLOG: usize = 10_000;
/// How many times slower a slow disk is at most.
const SLOWEST_DISK: u64 = 40;

/// A fault that comes now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hardship {
    FailedSync,
    FullDisk,
    SlowDisk,
    Rot,
    Pause,
    Flap,
    Starve,
}

impl Hardship {
    const ALL: [Self; 7] =
        [Self::FailedSync, Self::FullDisk, Self::SlowDisk, Self::Rot, Self::Pause, Self::Flap, Self::Starve];

    /// Whether it breaks a promise about time, and no other.
    const fn delays(self) -> bool {
        match self {
            Self::SlowDisk | Self::Pause | Self::Flap | Self::Starve => true,
            Self::FailedSync | Self::FullDisk | Self::Rot => false,
        }
    }

    const fn class(self) -> FaultClass {
        match self {
            Self::FailedSync => FaultClass::FailedSync,
            Self::FullDisk => FaultClass::FullDisk,
            Self::SlowDisk => FaultClass::SlowDisk,
            Self::Rot => FaultClass::Rot,
            Self::Pause => FaultClass::Pause,
            Self::Flap => FaultClass::Flap,
            Self::Starve => FaultClass::Starvation,
        }
    }
}

impl<A: ConsensusAlgorithm> World<A> {
    pub(super) fn start_hardships(&mut self) {
        for hardship in Hardship::ALL {
            self.plan_hardship(hardship);
        }
    }

    const fn rhythm_of(&self, hardship: Hardship) -> Option<Rhythm> {
        let plan = &self.plan.hardships;
        match hardship {
            Hardship::FailedSync => plan.failed_syncs,
            Hardship::FullDisk => plan.full_disks,
            Hardship::SlowDisk => plan.slow_disks,
            Hardship::Rot => plan.rot,
            Hardship::Pause => plan.pauses,
            Hardship::Flap => plan.flaps,
            Hardship::Starve => plan.starvation,
        }
    }

    fn plan_hardship(&mut self, hardship: Hardship) {
        if let Some(rhythm) = self.rhythm_of(hardship) {
            let span = self.streams.faults.get_mut(hardship.class()).around(rhythm.every);
            self.plan_in(span, Happening::Hardship(hardship));
        }
    }

    pub(super) fn on_hardship(&mut self, hardship: Hardship) {
        let Some(rhythm) = self.rhythm_of(hardship).filter(|_| self.stormy) else { return };
        // The network has stabilised, and stays so.
        if hardship.delays() && !self.is_unruly() {
            return;
        }
        let mut choices = self.choices_for(hardship.class());
        let index = self.victim(&mut choices);
        let span = choices.around(rhythm.lasts);
        self.trace.event(self.now, 30 + hardship as u64, index as u64);
        match hardship {
            Hardship::FailedSync => self.arm(index, hardship, DiskFault::sync(&mut choices)),
            Hardship::FullDisk => self.arm(index, hardship, DiskFault::full(&mut choices)),
            Hardship::SlowDisk => self.slow_down(index, span, &mut choices),
            Hardship::Rot => self.rot(index, span, &mut choices),
            Hardship::Pause => self.pause(index, span, &mut choices),
            Hardship::Flap => self.flap(span, &mut choices),
            Hardship::Starve => self.starve(index, span, &mut choices),
        }
        self.plan_hardship(hardship);
    }

    fn arm(&mut self, index: usize, hardship: Hardship, fault: DiskFault) {
        let possible = self.is_up(index);
        if !self.injector.allows_if(hardship.class(), possible) {
            return;
        }
        let Some(host) = self.hosts.get(index) else { return };
        host.platter.disk().arm(fault);
        self.trace.say(self.now, || format!("the disk of n{} will fail: {fault:?}", index + 1));
    }

    /// The node has stopped with this error. That is right if its disk failed, and wrong otherwise.
    pub(super) fn on_stopped(&mut self, index: usize, error: &NodeError) {
        if self.is_byzantine(index) {
            return self.collapse(index, &error.to_string());
        }
        let Some(host) = self.hosts.get_mut(index) else { return };
        let id = host.id;
        let of_disk = matches!(error, NodeError::Storage(StorageError::Io { .. }));
        let Some(fault) = host.platter.disk().take_fired().filter(|_| of_disk) else {
            self.oracle.fail(Property::NodeRuns, self.now, format!("{id} stopped: {error}"));
            return;
        };
        self.trace.event(self.now, 40, id.0);
        self.trace.say(self.now, || format!("{id} stops: {error}"));
        self.tape.note(self.now, || Happened::stop(id, fault, error));
        let rhythm = match fault {
            DiskFault::Sync { .. } => {
                self.counts.failed_syncs += 1;
                self.plan.hardships.failed_syncs
            }
            DiskFault::Full { .. } => {
                self.counts.full_disks += 1;
                self.plan.hardships.full_disks
            }
        };
        self.oracle.on_down(self.now, id);
        host.stop();
        // How it ends must not move when the next one comes.
        let choices = &mut self.streams.disk.fork();
        // Either the process alone is restarted, and reads what the operating system still remembers, or the machine is.
        if choices.chance(MILLION / 2) {
            let lost = host.platter.crash(choices);
            self.lookout.on_crash(index, 0, lost);
        }
        let still_full = matches!(fault, DiskFault::Full { .. }) && choices.chance(MILLION / 2);
        if !still_full {
            host.platter.disk().mend();
        }
        let boot = host.boot;
        let span = choices.around(rhythm.map_or(Duration::from_millis(1), |rhythm| rhythm.lasts));
        self.plan_in(span, Happening::Restart { node: index, boot });
    }

    /// The node could not start; whether that is because its disk is still full. Then there is space the next time.
    pub(super) fn tries_again(&mut self, index: usize, error: &NodeError) -> bool {
        let Some(host) = self.hosts.get_mut(index) else { return false };
        let of_disk = matches!(error, NodeError::Storage(StorageError::Io { .. }));
        if !of_disk || host.platter.disk().take_fired().is_none() {
            return false;
        }
        host.platter.disk().mend();
        let (id, boot) = (host.id, host.boot);
        self.trace.event(self.now, 41, id.0);
        self.trace.say(self.now, || format!("{id} does not start: {error}"));
        self.tape.note(self.now, || Happened::NoStart { node: id, detail: error.to_string() });
        self.plan_in(Duration::from_millis(1), Happening::Restart { node: index, boot });
        true
    }

    /// A node whose disk refused something must not go on.
    pub(super) fn expect_fail_stop(&mut self, index: usize) {
        let Some(host) = self.hosts.get(index).filter(|host| host.node.is_some()) else { return };
        if host.platter.disk().has_fired() && !self.is_byzantine(index) {
            let detail = format!("{} goes on, though its disk failed", host.id);
            self.oracle.fail(Property::Durability, self.now, detail);
        }
    }

    fn slow_down(&mut self, index: usize, span: Duration, choices: &mut Stream) {
        let until = self.now + span;
        let times = u32::try_from(choices.between(2, SLOWEST_DISK)).unwrap_or(1);
        if !self.allows(FaultClass::SlowDisk) {
            return;
        }
        let Some(host) = self.hosts.get_mut(index) else { return };
        host.slow_until = host.slow_until.max(until);
        host.slower = times;
        self.counts.slow_disks += 1;
        self.trace.say(self.now, || format!("the disk of n{} is {times} times slower", index + 1));
        self.tape.note(self.now, || Happened::SlowDisk { node: record::node(index), times, until });
    }

    /// How long a sync takes that would take `span`. When the disk is well again it takes no longer than on any other.
    pub(super) fn slowed(&self, index: usize, span: Duration) -> Duration {
        let slow = self.hosts.get(index).filter(|host| self.is_unruly() && self.now < host.slow_until);
        slow.map_or(span, |host| (span * host.slower).min(host.slow_until.since(self.now) + span))
    }

    /// A bit flips on the disk of a node that is down, unless too many nodes are lost already.
    fn rot(&mut self, index: usize, span: Duration, choices: &mut Stream) {
        let possible = self.losses_left() > 0 && self.may_lose(index);
        let possible = possible && self.hosts.get(index).is_some_and(|host| !host.lost);
        if !self.injector.allows_if(FaultClass::Rot, possible) {
            return;
        }
        if self.is_up(index) {
            self.counts.crashes += 1;
            self.kill(index);
        }
        let Some(host) = self.hosts.get_mut(index) else { return };
        let (id, boot) = (host.id, host.boot);
        let rot = host.platter.rot::<A::Record>(choices);
        let said = match rot {
            Rot::Nothing => "there is nothing to rot".into(),
            Rot::Harmless(place) => {
                self.counts.bit_rots += 1;
                place
            }
            Rot::Refused(detail) => {
                self.counts.bit_rots += 1;
                self.counts.refused_disks += 1;
                (host.lost, host.bad_disk) = (true, true);
                detail
            }
            Rot::Wrong(detail) => {
                self.oracle.fail(Property::Durability, self.now, format!("{id}: {detail}"));
                detail
            }
        };
        self.trace.say(self.now, || format!("{id}: {said}"));
        let refused = host.lost;
        self.tape.note(self.now, || Happened::Rot { node: id, detail: said, refused });
        self.plan_in(span, Happening::Restart { node: index, boot });
    }

    fn pause(&mut self, index: usize, span: Duration, choices: &mut Stream) {
        let clock_stops = choices.chance(self.plan.clocks_stop_ppm);
        let runs = |host: &super::host::Host<A>| host.node.is_some() && host.paused.is_none();
        let possible = self.hosts.get(index).is_some_and(runs);
        if !self.injector.allows_if(FaultClass::Pause, possible) {
            return;
        }
        let now = self.now;
        let Some(host) = self.hosts.get_mut(index) else { return };
        host.paused = Some(Pause { clock_stops, ..Pause::new(now) });
        let boot = host.boot;
        self.counts.pauses += 1;
        self.trace.say(self.now, || format!("n{} stands still", index + 1));
        self.tape.note(self.now, || Happened::Pause { node: record::node(index), clock_stops });
        self.plan_in(span, Happening::Resume { node: index, boot });
    }

    pub(super) fn on_resume(&mut self, index: usize, boot: u64) {
        // Who stands still after the storm does so for ever.
        let ends = |host: &super::host::Host<A>| host.boot == boot && host.misery.is_none();
        if self.hosts.get(index).is_some_and(ends) {
            self.resume(index);
        }
    }

    /// Everything that came in the meantime happens at once.
    pub(super) fn resume(&mut self, index: usize) {
        let Some(host) = self.hosts.get_mut(index) else { return };
        let Some(Pause { since, clock_stops, backlog }) = host.paused.take() else { return };
        if clock_stops {
            host.clock.stood_still(self.now.since(since));
        }
        self.trace.event(self.now, 42, index as u64);
        self.trace.say(self.now, || format!("n{} goes on, with {} events", index + 1, backlog.len()));
        let (node, waited) = (record::node(index), backlog.len());
        self.tape.note(self.now, || Happened::Resume { node, waited });
        self.look_at_resume(index);
        for happening in backlog {
            self.happen(happening);
        }
    }

    /// Keeps what happens to a machine that stands still; gives back what happens now.
    pub(super) fn defer(&mut self, happening: Happening) -> Option<Happening> {
        if let Happening::Deliver { from, to, stamp, .. } = &happening
            && let Some(until) = self.held_back(*from, *to, stamp.sent)
        {
            self.plan_at(until, happening);
            return None;
        }
        let (node, may_be_lost) = match &happening {
            Happening::Deliver { to: node, .. } | Happening::Arrive { node, .. } => (*node, true),
            Happening::Wake { node }
            | Happening::Flush { node, .. }
            | Happening::DiskDone { node, .. }
            | Happening::Snapshot { node, .. } => (*node, false),
            Happening::Restart { .. }
            | Happening::Resume { .. }
            | Happening::Hardship(_)
            | Happening::Stabilise
            | Happening::Turn { .. }
            | Happening::Byzantine(_)
            | Happening::Partition
            | Happening::Mend { .. }
            | Happening::Crash
            | Happening::PowerLoss
            | Happening::Transfer
            | Happening::Change
            | Happening::Wish
            | Happening::Suspicion
            | Happening::Look
            | Happening::Death
            | Happening::ClientNext { .. }
            | Happening::ClientTimeout { .. }
            | Happening::ClientRetry { .. }
            | Happening::Respond { .. } => return Some(happening),
        };
        let Some(pause) = self.hosts.get_mut(node).and_then(|host| host.paused.as_mut()) else {
            return Some(happening);
        };
        if !may_be_lost || pause.backlog.len() < MAX_BACKLOG {
            pause.backlog.push(happening);
        }
        None
    }

    fn flap(&mut self, span: Duration, choices: &mut Stream) {
        let n = self.plan.hosts();
        let (from, to, both) = (choices.index(n), choices.index(n), choices.chance(MILLION / 2));
        if !self.injector.allows_if(FaultClass::Flap, from != to) {
            return;
        }
        let until = self.now + span;
        self.links.flap(from, to, until);
        if both {
            self.links.flap(to, from, until);
        }
        self.counts.flaps += 1;
        self.trace.say(self.now, || format!("the link from n{} to n{} is down", from + 1, to + 1));
        for (from, to) in [(from, to), (to, from)].into_iter().take(1 + usize::from(both)) {
            let (from, to) = (record::node(from), record::node(to));
            self.tape.note(self.now, || Happened::Flap { from, to, until });
        }
    }

    /// The clock of a node that boots now. Its rate stays the same for the whole run.
    pub(super) fn new_clock(&mut self, index: usize) -> Clock {
        let Some(plan) = self.plan.clocks else { return Clock::TRUE };
        let rate_ppm = self.hosts.get(index).map_or(MILLION, |host| host.rate_ppm);
        let skew = self.streams.clocks.span(Duration::ZERO, plan.skew);
        if !self.allows(FaultClass::Skew) {
            return Clock::TRUE;
        }
        self.counts.skewed_boots += 1;
        Clock::new(self.now, Time::ZERO + skew, rate_ppm)
    }

    /// A frame that was damaged on its way: whatever the decoder makes of it, the checksum of a real transport drops it. The
    /// decoder must not panic, and neither must the screening.
    pub(super) fn drop_corrupted(&mut self, index: usize, frame: &[u8]) {
        self.count_loss(Loss::Corrupted);
        let decoded = wire::decode::<A::Message>(frame, wire::MAX_FRAME_BYTES);
        if let (Ok(message), Some(sender)) = (decoded, self.hosts.get(index).map(|host| host.id)) {
            self.counts.corrupted_decoded += 1;
            // An accusation is as good as none: the frame never gets so far.
            let _ = A::screen(&self.config, sender, &message);
        }
    }
}

/// A machine that stands still.
pub(super) struct Pause {
    since: Time,
    /// Its clock stands still too, as a suspended machine's may.
    clock_stops: bool,
    /// What waits for it.
    backlog: Vec<Happening>,
}

impl Pause {
    pub(super) const fn new(since: Time) -> Self {
        Self { since, clock_stops: false, backlog: Vec::new() }
    }
}
