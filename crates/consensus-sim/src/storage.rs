//! The storage of a simulated node: the real journal on a disk that takes its time, and that a crash finds at any step.

use crate::disk::{DiskFault, SimDisk};
use crate::marks::Forgotten;
use crate::plan::DiskPlan;
use crate::random::{MILLION, Stream};
use bytes::Bytes;
use consensus_core::{ClusterId, GroupId, NodeId, Recovered, Slot, Storage, StorageError, WriteSeq};
use consensus_wal::{Identity, JournalConfig, SoloStorage};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The one group of a simulated node.
const GROUP: GroupId = GroupId(1);
/// The most disk operations that a write or a recovery gets through before the power fails in its midst; more than most take.
const MAX_OPERATIONS: u64 = 12;
/// The most space that a disk has left when it is said to be full.
const MAX_LEFT_BYTES: usize = 8 << 10;

/// What outlives a crash.
pub(crate) struct Platter {
    disk: SimDisk,
    config: JournalConfig,
    identity: Identity,
}

impl Platter {
    pub(crate) fn new(node: NodeId, plan: &DiskPlan) -> Self {
        let config = JournalConfig {
            segment_bytes: plan.segment_bytes,
            zero_ahead_bytes: plan.zero_ahead_bytes,
            retained_bytes: plan.segment_bytes * 4,
            salt: node.0,
        };
        let disk = if plan.lying_syncs { SimDisk::lying() } else { SimDisk::new() };
        Self { disk, config, identity: Identity { cluster: ClusterId(1), node } }
    }

    /// Opens the journal; recovery runs. With `interrupt`, the power may fail in its midst.
    pub(crate) fn open<R>(&self, interrupt: Option<&mut Stream>) -> Result<SimStorage<R>, StorageError> {
        if let Some(choices) = interrupt {
            self.disk.fail_after(choices.below(MAX_OPERATIONS));
        }
        let solo = SoloStorage::open(self.disk.clone(), self.config.clone(), self.identity, GROUP);
        self.disk.keep_power();
        Ok(SimStorage {
            solo: solo?,
            disk: self.disk.clone(),
            queued: Vec::new(),
            in_flight: 0,
            durable: WriteSeq::ZERO,
            failed: None,
        })
    }

    pub(crate) fn crash(&self, choices: &mut Stream) -> Forgotten {
        self.disk.crash_and_tell(choices)
    }

    /// As [`Platter::crash`], but exactly what was synced survives.
    pub(crate) fn crash_cleanly(&self) {
        self.disk.forget_unsynced();
    }

    /// The disk has no fault, and had none: its node is down.
    pub(crate) fn forget_fault(&self) {
        self.disk.mend();
        let _ = self.disk.take_fired();
    }

    /// The disk itself, for faults.
    pub(crate) const fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// Flips one bit, and tells what a node that starts on this disk would make of it. The node must be down.
    pub(crate) fn rot<R>(&self, choices: &mut Stream) -> Rot
    where
        R: Clone + PartialEq + Serialize + DeserializeOwned,
    {
        let sound = self.read_copy::<R>();
        let Some((name, offset)) = self.disk.rot(choices) else { return Rot::Nothing };
        let place = format!("a bit flipped in {name} at byte {offset}");
        match (sound, self.read_copy::<R>()) {
            (Err(error), _) => Rot::Wrong(format!("the sound disk cannot be read: {error}")),
            (Ok(before), Ok(after)) if before == after => Rot::Harmless(place),
            (Ok(_), Ok(_)) => Rot::Wrong(format!("{place}, and the node starts with other records")),
            (Ok(_), Err(error @ StorageError::Corrupt { .. })) => Rot::Refused(format!("{place}: {error}")),
            (Ok(_), Err(error)) => Rot::Wrong(format!("{place}, and is not called damage: {error}")),
        }
    }

    /// Recovers from a copy of the disk, which is left alone.
    fn read_copy<R: Serialize + DeserializeOwned>(&self) -> Result<Recovered<R>, StorageError> {
        SoloStorage::<SimDisk, R>::open(self.disk.fork(), self.config.clone(), self.identity, GROUP)?
            .recover()
    }
}

/// What came of a bit that flipped.
pub(crate) enum Rot {
    /// There is nothing on the disk yet.
    Nothing,
    /// It hit what nobody needs: everything is read back as before.
    Harmless(String),
    /// The node refuses to start, and says that its disk is damaged.
    Refused(String),
    /// A defect: the node starts with something else, or gives another reason.
    Wrong(String),
}

impl DiskFault {
    /// A full disk with a little space.
    pub(crate) fn full(choices: &mut Stream) -> Self {
        Self::Full { left: choices.index(MAX_LEFT_BYTES) }
    }

    /// A disk whose syncs fail.
    pub(crate) fn sync(choices: &mut Stream) -> Self {
        Self::Sync { salt: choices.number() }
    }
}

enum Write<R> {
    Append(WriteSeq, R),
    Checkpoint(WriteSeq, Slot, Bytes, Vec<R>),
}

/// A journal whose writes take time: what is queued while the disk works waits for the next turn.
pub(crate) struct SimStorage<R> {
    solo: SoloStorage<SimDisk, R>,
    disk: SimDisk,
    queued: Vec<Write<R>>,
    /// How many of the queued writes are at the disk.
    in_flight: usize,
    durable: WriteSeq,
    failed: Option<StorageError>,
}

impl<R: Clone + Serialize + DeserializeOwned> SimStorage<R> {
    /// Sends what is queued to the disk, if it is idle; whether there was anything.
    pub(crate) fn begin(&mut self) -> bool {
        if self.in_flight > 0 {
            return false;
        }
        self.in_flight = self.queued.len();
        self.in_flight > 0
    }

    /// The disk is done with what was sent to it: so many writes. Sometimes it then prepares space.
    pub(crate) fn complete(&mut self, choices: &mut Stream) -> usize {
        let writes = core::mem::take(&mut self.in_flight);
        for write in self.queued.drain(..writes) {
            match write {
                Write::Append(seq, record) => self.solo.append(seq, record),
                Write::Checkpoint(seq, through, snapshot, tail) => {
                    self.solo.checkpoint(seq, through, snapshot, tail);
                }
            }
        }
        match self.solo.commit() {
            Ok(durable) => self.durable = durable,
            Err(error) => self.failed = Some(error),
        }
        if choices.chance(MILLION / 8)
            && let Err(error) = self.solo.journal().prepare()
        {
            self.failed = Some(error);
        }
        writes
    }

    /// The power fails, perhaps while the disk is at work: after any of its operations.
    pub(crate) fn interrupt(&mut self, choices: &mut Stream) {
        if self.in_flight > 0 {
            self.disk.fail_after(choices.below(MAX_OPERATIONS));
            self.complete(choices);
        }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.queued.len()
    }
}

impl<R: Clone + Serialize + DeserializeOwned> Storage<R> for SimStorage<R> {
    fn recover(&mut self) -> Result<Recovered<R>, StorageError> {
        self.solo.recover()
    }

    fn append(&mut self, seq: WriteSeq, record: R) {
        self.queued.push(Write::Append(seq, record));
    }

    fn checkpoint(&mut self, seq: WriteSeq, through: Slot, snapshot: Bytes, tail: Vec<R>) {
        self.queued.push(Write::Checkpoint(seq, through, snapshot, tail));
    }

    fn durable(&mut self) -> Result<WriteSeq, StorageError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None => Ok(self.durable),
        }
    }
}
