//! Marks: moments that must come up now and then, or a run of many seeds proves less than it seems. A class of faults may be
//! met thousands of times, and never at the moment at which a protocol is tempted to err.
//!
//! They are counted from outside, by what any algorithm shows: who leads in which epoch, what is applied, what clients ask. A
//! mark draws no random number and touches no fingerprint, so that runs are the same with it and without.

use consensus_core::{Epoch, NodeId, Role, Status, Time};

/// A moment worth meeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Mark {
    /// Another node leads than before, while a write is under way.
    LeaderChangeDuringWrite,
    /// A node leads while another believes that it still does.
    TwoLeaders,
    /// A leader loses power.
    LeaderCrash,
    /// A leader loses power that has no timer, in a group at rest.
    LeaderLostAtRest,
    /// A leader that runs gives way.
    LeaderDeposed,
    /// A leader that stood still goes on, and another leads by now.
    StaleLeaderResumed,
    /// A candidate gives way.
    CandidateBeaten,
    /// A write that began under one leader completes under another.
    WriteAcrossLeaders,
    /// A read that began under one leader completes under another.
    ReadAcrossLeaders,
    /// A command that was decided twice took effect once.
    RetryAppliedOnce,
    /// A client is told that there is no room for its command.
    Busy,
    /// A node loses power while it has handed writes to its storage that are not durable.
    CrashDuringWrite,
    /// A node starts without the last of what it had written and not synced.
    TailLost,
    /// A node starts on a file of which a part of the unsynced bytes survived, and a part did not.
    TornWrite,
    /// The power fails while a node recovers.
    CrashInRecovery,
    /// Every node loses power while a write is under way.
    PowerLossDuringWrite,
    /// A node starts from a snapshot of its own.
    BootFromSnapshot,
    /// A node takes over a snapshot while links are cut.
    InstallDuringPartition,
    /// A node catches up from another's snapshot after it stood still.
    InstallAfterPause,
    /// A node catches up from another's snapshot after a restart.
    InstallAfterRestart,
    /// A message arrives after one that left later on the same link.
    MessageOvertaken,
    /// A message arrives from a sender that has restarted since.
    MessageOfEarlierBoot,
    /// A message arrives at a receiver that has restarted since it left.
    MessageToLaterBoot,
    /// A message arrives that left in a partition which is over, or before the present one.
    MessageAcrossPartition,
}

impl Mark {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 24] = [
        Self::LeaderChangeDuringWrite,
        Self::TwoLeaders,
        Self::LeaderCrash,
        Self::LeaderLostAtRest,
        Self::LeaderDeposed,
        Self::StaleLeaderResumed,
        Self::CandidateBeaten,
        Self::WriteAcrossLeaders,
        Self::ReadAcrossLeaders,
        Self::RetryAppliedOnce,
        Self::Busy,
        Self::CrashDuringWrite,
        Self::TailLost,
        Self::TornWrite,
        Self::CrashInRecovery,
        Self::PowerLossDuringWrite,
        Self::BootFromSnapshot,
        Self::InstallDuringPartition,
        Self::InstallAfterPause,
        Self::InstallAfterRestart,
        Self::MessageOvertaken,
        Self::MessageOfEarlierBoot,
        Self::MessageToLaterBoot,
        Self::MessageAcrossPartition,
    ];

    /// The name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LeaderChangeDuringWrite => "leader changes during a write",
            Self::TwoLeaders => "two leaders at once, in different epochs",
            Self::LeaderCrash => "leaders that crashed",
            Self::LeaderLostAtRest => "leaders that crashed at rest",
            Self::LeaderDeposed => "leaders that gave way",
            Self::StaleLeaderResumed => "leaders that slept through their deposition",
            Self::CandidateBeaten => "candidates that gave way",
            Self::WriteAcrossLeaders => "writes that outlived a leader",
            Self::ReadAcrossLeaders => "reads that outlived a leader",
            Self::RetryAppliedOnce => "commands decided twice and applied once",
            Self::Busy => "commands refused for want of room",
            Self::CrashDuringWrite => "crashes before a write was durable",
            Self::TailLost => "starts without an unsynced tail",
            Self::TornWrite => "starts on a torn write",
            Self::CrashInRecovery => "crashes during recovery",
            Self::PowerLossDuringWrite => "power losses during a write",
            Self::BootFromSnapshot => "starts from a snapshot",
            Self::InstallDuringPartition => "snapshots installed while links were cut",
            Self::InstallAfterPause => "snapshots installed after a pause",
            Self::InstallAfterRestart => "snapshots installed after a restart",
            Self::MessageOvertaken => "messages overtaken by a later one",
            Self::MessageOfEarlierBoot => "messages of a sender's earlier boot",
            Self::MessageToLaterBoot => "messages to a receiver's later boot",
            Self::MessageAcrossPartition => "messages from before the last cut or repair",
        }
    }

    /// Whether only an algorithm with leaders can meet it.
    #[must_use]
    pub const fn needs_leaders(self) -> bool {
        match self {
            Self::LeaderChangeDuringWrite
            | Self::TwoLeaders
            | Self::LeaderCrash
            | Self::LeaderLostAtRest
            | Self::LeaderDeposed
            | Self::StaleLeaderResumed
            | Self::CandidateBeaten
            | Self::WriteAcrossLeaders
            | Self::ReadAcrossLeaders => true,
            Self::RetryAppliedOnce
            | Self::Busy
            | Self::CrashDuringWrite
            | Self::TailLost
            | Self::TornWrite
            | Self::CrashInRecovery
            | Self::PowerLossDuringWrite
            | Self::BootFromSnapshot
            | Self::InstallDuringPartition
            | Self::InstallAfterPause
            | Self::InstallAfterRestart
            | Self::MessageOvertaken
            | Self::MessageOfEarlierBoot
            | Self::MessageToLaterBoot
            | Self::MessageAcrossPartition => false,
        }
    }
}

/// How often each mark was met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks([u64; Mark::ALL.len()]);

impl Marks {
    /// How often this one was met.
    #[must_use]
    pub fn get(&self, mark: Mark) -> u64 {
        self.0.get(mark as usize).copied().unwrap_or_default()
    }

    /// All of them, in the order of reports.
    pub fn iter(&self) -> impl Iterator<Item = (Mark, u64)> {
        Mark::ALL.into_iter().map(|mark| (mark, self.get(mark)))
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }

    pub(crate) fn hit(&mut self, mark: Mark) {
        if let Some(count) = self.0.get_mut(mark as usize) {
            *count += 1;
        }
    }

    pub(crate) fn hit_if(&mut self, mark: Mark, met: bool) {
        if met {
            self.hit(mark);
        }
    }
}

/// What a message carries so that its arrival can be told from others: nothing that its receiver could know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// When it left.
    pub(crate) sent: Time,
    /// Which boot of its sender and of its receiver it was then.
    pub(crate) boots: (u64, u64),
    /// How often links had been cut or mended.
    pub(crate) changes: u64,
}

/// What an observer must remember to recognise a mark.
#[derive(Debug, Default)]
pub(crate) struct Lookout {
    pub(crate) marks: Marks,
    /// How many times the leader has changed, and who it was last.
    pub(crate) changes_of_leader: u64,
    leader: Option<(NodeId, Epoch)>,
    nodes: Vec<Sight>,
    /// The count of changes when each client's operation began.
    clients: Vec<u64>,
    /// When the latest message left that has arrived, per link.
    latest: Vec<Time>,
    /// How often links were cut or mended.
    pub(crate) cuts: u64,
}

/// What was seen of one node.
#[derive(Clone, Copy, Debug, Default)]
struct Sight {
    role: Option<Role>,
    boots: u64,
    /// It has stood still in this boot, and taken over no snapshot since.
    paused: bool,
    /// The last crash took a tail, or tore a write.
    lost: Forgotten,
}

/// What a crash took from a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forgotten {
    /// Some of what was written and not synced.
    pub(crate) some: bool,
    /// Some of it, and not the rest of the same file.
    pub(crate) torn: bool,
}

impl Forgotten {
    pub(crate) const fn add(&mut self, other: Self) {
        self.some |= other.some;
        self.torn |= other.torn;
    }
}

impl Lookout {
    pub(crate) fn new(nodes: usize, clients: u32) -> Self {
        Self {
            nodes: vec![Sight::default(); nodes],
            clients: vec![0; usize::try_from(clients).unwrap_or_default()],
            latest: vec![Time::ZERO; nodes * nodes],
            ..Self::default()
        }
    }

    /// A node's part or epoch is another now. `writing`: some client waits for a write; `others_lead`: so does another node.
    pub(crate) fn on_status(
        &mut self,
        node: usize,
        status: &Status,
        id: NodeId,
        writing: bool,
        others_lead: bool,
    ) {
        let before = self.nodes.get_mut(node).and_then(|sight| sight.role.replace(status.role));
        match (before, status.role) {
            (Some(Role::Leader), role) if role != Role::Leader => self.marks.hit(Mark::LeaderDeposed),
            (Some(Role::Candidate), Role::Follower) => self.marks.hit(Mark::CandidateBeaten),
            (_, _) => {}
        }
        if status.role != Role::Leader {
            return;
        }
        self.marks.hit_if(Mark::TwoLeaders, others_lead);
        let known = self.leader;
        if known.is_none_or(|(_, epoch)| epoch < status.epoch) {
            self.leader = Some((id, status.epoch));
            if known.is_some_and(|(leader, _)| leader != id) {
                self.changes_of_leader += 1;
                self.marks.hit_if(Mark::LeaderChangeDuringWrite, writing);
            }
        }
    }

    /// A node starts, on a disk of its own making.
    pub(crate) fn on_boot(&mut self, node: usize, from_snapshot: bool) {
        let Some(sight) = self.nodes.get_mut(node) else { return };
        let Forgotten { some, torn } = core::mem::take(&mut sight.lost);
        (sight.role, sight.paused) = (None, false);
        sight.boots += 1;
        self.marks.hit_if(Mark::TailLost, some);
        self.marks.hit_if(Mark::TornWrite, torn);
        self.marks.hit_if(Mark::BootFromSnapshot, from_snapshot);
    }

    /// A node loses power, with so many writes under way.
    pub(crate) fn on_crash(&mut self, node: usize, waiting: usize, lost: Forgotten) {
        self.marks.hit_if(Mark::CrashDuringWrite, waiting > 0);
        let Some(sight) = self.nodes.get_mut(node) else { return };
        let led = sight.role.take() == Some(Role::Leader);
        sight.lost.add(lost);
        self.marks.hit_if(Mark::LeaderCrash, led);
    }

    /// A node that stood still goes on.
    pub(crate) fn on_resume(&mut self, node: usize, others_lead: bool) {
        let Some(sight) = self.nodes.get_mut(node) else { return };
        sight.paused = true;
        let led = sight.role == Some(Role::Leader);
        self.marks.hit_if(Mark::StaleLeaderResumed, led && others_lead);
    }

    pub(crate) fn on_install(&mut self, node: usize, partitioned: bool) {
        let Some(sight) = self.nodes.get_mut(node) else { return };
        let (paused, restarted) = (core::mem::take(&mut sight.paused), sight.boots > 1);
        self.marks.hit_if(Mark::InstallDuringPartition, partitioned);
        self.marks.hit_if(Mark::InstallAfterPause, paused);
        self.marks.hit_if(Mark::InstallAfterRestart, restarted);
    }

    /// A message arrives, whose stamp would be `now` if it left at this moment.
    pub(crate) fn on_arrival(&mut self, link: usize, then: Stamp, now: Stamp) {
        if let Some(latest) = self.latest.get_mut(link) {
            let overtaken = then.sent < *latest;
            *latest = then.sent.max(*latest);
            self.marks.hit_if(Mark::MessageOvertaken, overtaken);
        }
        self.marks.hit_if(Mark::MessageOfEarlierBoot, then.boots.0 < now.boots.0);
        self.marks.hit_if(Mark::MessageToLaterBoot, then.boots.1 < now.boots.1);
        self.marks.hit_if(Mark::MessageAcrossPartition, then.changes < now.changes);
    }

    /// A client begins an operation.
    pub(crate) fn on_invoke(&mut self, client: u32) {
        if let Some(begun) = usize::try_from(client).ok().and_then(|client| self.clients.get_mut(client)) {
            *begun = self.changes_of_leader;
        }
    }

    /// A client's operation is complete.
    pub(crate) fn on_return(&mut self, client: u32, is_read: bool) {
        let begun = usize::try_from(client).ok().and_then(|client| self.clients.get(client));
        if begun.is_some_and(|begun| *begun < self.changes_of_leader) {
            self.marks.hit(if is_read { Mark::ReadAcrossLeaders } else { Mark::WriteAcrossLeaders });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus_core::{Members, Slot};

    fn status(role: Role, epoch: u64) -> Status {
        let members = Members::of([NodeId(1), NodeId(2)]);
        Status { role, leader: None, epoch: Epoch(epoch), decided: Slot::ZERO, members, blocked: Vec::new() }
    }

    #[test]
    fn each_mark_has_a_place_and_a_name_of_its_own() {
        for (place, mark) in Mark::ALL.into_iter().enumerate() {
            assert_eq!(mark as usize, place, "{mark:?} is out of order");
            assert_eq!(Mark::ALL.iter().filter(|other| other.name() == mark.name()).count(), 1);
        }
    }

    #[test]
    fn a_change_of_leader_is_one_only_if_another_node_leads_in_a_later_epoch() {
        let mut lookout = Lookout::new(2, 1);
        lookout.on_invoke(0);
        lookout.on_status(0, &status(Role::Leader, 1), NodeId(1), true, false);
        lookout.on_status(0, &status(Role::Leader, 2), NodeId(1), true, false);
        lookout.on_return(0, false);
        assert_eq!(lookout.marks, Marks::default());
        lookout.on_status(1, &status(Role::Leader, 3), NodeId(2), true, true);
        lookout.on_return(0, true);
        let met: Vec<Mark> =
            lookout.marks.iter().filter(|(_, count)| *count > 0).map(|(mark, _)| mark).collect();
        assert_eq!(met, [Mark::LeaderChangeDuringWrite, Mark::TwoLeaders, Mark::ReadAcrossLeaders]);
    }

    #[test]
    fn only_a_message_that_left_earlier_was_overtaken() {
        let mut lookout = Lookout::new(2, 0);
        let left = |millis| Stamp { sent: Time::from_millis(millis), ..Stamp::default() };
        for (sent, overtaken) in [(1, 0), (3, 0), (2, 1), (3, 1), (4, 1)] {
            lookout.on_arrival(1, left(sent), left(9));
            assert_eq!(lookout.marks.get(Mark::MessageOvertaken), overtaken);
        }
    }
}
