//! From whatever is in the directory to what every group needs, or to a refusal.
//!
//! First everything is judged, and only then anything is changed: a refused directory is left as it was found.

use crate::disk::Disk;
use crate::identity;
use crate::journal::{Active, Identity, Journal, JournalConfig, SegmentInfo};
use crate::note;
use crate::replay::{self, End, Replay};
use crate::segment::{self, Owner};
use crate::snapshot::{self, SnapshotPlate};
use crate::volume::Volume;
use bytes::Bytes;
use consensus_core::{GroupId, Recovered, Slot, StorageError, wire};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// A record as it was written, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// The encoded record.
    pub bytes: Bytes,
    pub(crate) place: Arc<str>,
    pub(crate) offset: u64,
}

/// What was on the disk for one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredRaw {
    /// The newest snapshot.
    pub snapshot: Option<(Slot, Bytes)>,
    /// Every record after it, oldest first.
    pub records: Vec<RawRecord>,
}

impl RecoveredRaw {
    /// Decodes the records.
    ///
    /// # Errors
    /// A record is intact but not of type `R`: another program, or another version of it, wrote it.
    pub fn decode<R: DeserializeOwned>(self) -> Result<Recovered<R>, StorageError> {
        let mut records = Vec::with_capacity(self.records.len());
        for raw in self.records {
            let record = wire::decode(&raw.bytes, raw.bytes.len()).map_err(|error| StorageError::Corrupt {
                place: raw.place.as_ref().into(),
                offset: raw.offset,
                problem: format!(
                    "a record in the frame there is intact, but this program cannot read it ({error}); start the \
                     version of the program that wrote it"
                ),
            })?;
            records.push(record);
        }
        Ok(Recovered { snapshot: self.snapshot, records })
    }
}

/// An open journal and what it held.
type Opened<D> = (Journal<D>, BTreeMap<GroupId, RecoveredRaw>);

pub(crate) fn open<D: Disk>(
    volume: Volume<D>,
    config: JournalConfig,
    identity: Identity,
) -> Result<Opened<D>, StorageError> {
    let mut names = volume.list()?;
    let owner = match identity::read(&volume, &names, identity)? {
        Some(owner) => owner,
        None => {
            let owner = Owner { identity, salt: config.salt };
            identity::create(&volume, &names, &owner)?;
            names = volume.list()?;
            owner
        }
    };
    let replay = replay::run(&volume, &owner, &names)?;
    let note = note::read(&volume, &names, &owner)?;
    let recovered = read_groups(&volume, &owner, &replay)?;
    tidy(&volume, &names, &replay)?;
    let journal = assemble(volume, config, owner, note, replay)?;
    Ok((journal, recovered))
}

/// Whose directory it is, and its note; `None` if it is nobody's yet. Changes nothing.
pub(crate) fn peek<D: Disk>(volume: &Volume<D>) -> Result<Option<(Identity, Option<Bytes>)>, StorageError> {
    let names = volume.list()?;
    let Some(owner) = identity::peek(volume, &names)? else { return Ok(None) };
    Ok(Some((owner.identity, note::read(volume, &names, &owner)?)))
}

/// Reads the snapshots that are still referred to.
fn read_groups<D: Disk>(
    volume: &Volume<D>,
    owner: &Owner,
    replay: &Replay,
) -> Result<BTreeMap<GroupId, RecoveredRaw>, StorageError> {
    let mut groups = BTreeMap::new();
    for (&group, state) in &replay.states {
        let snapshot = match state.snapshot {
            Some((through, place)) => {
                let bytes = snapshot::read(volume, owner.seed(), SnapshotPlate { group, through, place })?;
                Some((through, bytes))
            }
            None => None,
        };
        let records = replay.records.get(&group).cloned().unwrap_or_default();
        groups.insert(group, RecoveredRaw { snapshot, records });
    }
    Ok(groups)
}

/// Cuts the torn tail, makes sure that what was read is durable, and then removes what nobody needs.
///
/// After a crash of the process alone, the newest frame and the newest name may so far stand only in the memory of the
/// operating system; and after a failed sync, it takes memory that was never written for clean. So the one frame that may
/// not have been synced is written again before the sync.
fn tidy<D: Disk>(volume: &Volume<D>, names: &[String], replay: &Replay) -> Result<(), StorageError> {
    let End { first, rewrite_from, end, torn_end, .. } = replay.active;
    let handle = volume.open(&segment::name(first))?;
    handle.rewrite(rewrite_from, end)?;
    handle.zero(end, torn_end)?;
    handle.sync()?;
    let referred: BTreeSet<_> =
        replay.states.values().filter_map(|state| state.snapshot).map(|(_, place)| place).collect();
    let superfluous = |name: &str| {
        segment::parse_name(name).is_some_and(|first| !replay.is_retained(first))
            || snapshot::parse_name(name).is_some_and(|place| !referred.contains(&place))
            || [identity::DRAFT, note::DRAFT].contains(&name)
    };
    // The names that make others superfluous must be durable before those are removed.
    volume.sync()?;
    let mut removed = false;
    for name in names.iter().filter(|name| superfluous(name)) {
        volume.remove(name)?;
        removed = true;
    }
    if removed { volume.sync() } else { Ok(()) }
}

fn assemble<D: Disk>(
    volume: Volume<D>,
    config: JournalConfig,
    owner: Owner,
    note: Option<Bytes>,
    replay: Replay,
) -> Result<Journal<D>, StorageError> {
    let end = replay.active;
    let handle = volume.open(&segment::name(end.first))?;
    let zeroed = handle.len()?.max(end.end);
    let seed = owner.segment_seed(end.first);
    let active = Active { handle, seed, position: end.end, zeroed, floor: end.floor };
    let segments: VecDeque<SegmentInfo> = replay.segments.into();
    Ok(Journal {
        volume,
        config,
        owner,
        note,
        active,
        next: replay.next,
        segments,
        groups: replay.states,
        failed: None,
        superseded: Vec::new(),
    })
}
