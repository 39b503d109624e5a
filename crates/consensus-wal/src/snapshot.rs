//! Snapshot files: a plate, then the snapshot. Written and synced before the frame that refers to them, so a reference that
//! leads nowhere is damage.

use crate::disk::Disk;
use crate::entry::SnapshotRef;
use crate::plate::{self, Kind, PLATE_BYTES};
use crate::segment::parse_hex;
use crate::volume::Volume;
use bytes::Bytes;
use consensus_core::{GroupId, Slot, StorageError};

const SUFFIX: &str = ".snap";

/// What a snapshot file must say of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotPlate {
    pub(crate) group: GroupId,
    pub(crate) through: Slot,
    pub(crate) place: SnapshotRef,
}

/// The file's name.
pub(crate) fn name(place: SnapshotRef) -> String {
    format!("{:016x}-{:08x}{SUFFIX}", place.frame, place.ordinal)
}

/// The inverse of [`name`].
pub(crate) fn parse_name(file: &str) -> Option<SnapshotRef> {
    let (frame, ordinal) = file.strip_suffix(SUFFIX)?.split_once('-')?;
    let ordinal = parse_hex(&format!("00000000{ordinal}")).and_then(|ordinal| u32::try_from(ordinal).ok())?;
    Some(SnapshotRef { frame: parse_hex(frame)?, ordinal })
}

/// The seed binds a file to its name: two files that were swapped do not pass.
fn seed_of(seed: u32, place: SnapshotRef) -> u32 {
    plate::checksum(seed, &u64::from(place.ordinal).to_le_bytes())
}

/// Writes and syncs the file; the directory is the caller's to sync.
pub(crate) fn write<D: Disk>(
    volume: &Volume<D>,
    seed: u32,
    plate: SnapshotPlate,
    bytes: &Bytes,
) -> Result<(), StorageError> {
    let SnapshotPlate { group, through, place } = plate;
    let numbers = [group.0, through.0, bytes.len() as u64, u64::from(plate::checksum(0, bytes)), place.frame];
    let handle = volume.create(&name(place))?;
    handle.write_at(0, &plate::encode(Kind::Snapshot, seed_of(seed, place), numbers))?;
    if !bytes.is_empty() {
        handle.write_at(PLATE_BYTES as u64, bytes)?;
    }
    handle.sync()
}

/// Reads the file back.
pub(crate) fn read<D: Disk>(
    volume: &Volume<D>,
    seed: u32,
    expected: SnapshotPlate,
) -> Result<Bytes, StorageError> {
    let name = name(expected.place);
    let handle = volume.open(&name)?;
    let length = handle.len()?;
    let mut head = [0; PLATE_BYTES];
    if length < PLATE_BYTES as u64 {
        return Err(volume.damage(&name, 0, format!("{length} bytes are too few for a snapshot; {ADVICE}")));
    }
    handle.read_at(0, &mut head)?;
    let numbers = plate::decode(Kind::Snapshot, seed_of(seed, expected.place), &head);
    let Ok([group, through, body_bytes, crc, frame]) = numbers else {
        return Err(volume.damage(&name, 0, format!("the head of the snapshot does not hold; {ADVICE}")));
    };
    let place = SnapshotRef { frame, ordinal: expected.place.ordinal };
    if (SnapshotPlate { group: GroupId(group), through: Slot(through), place }) != expected {
        return Err(volume.damage(&name, 0, format!("it is the snapshot of another checkpoint; {ADVICE}")));
    }
    if length - PLATE_BYTES as u64 != body_bytes {
        let problem =
            format!("{length} bytes are not the {body_bytes} of the snapshot and its head; {ADVICE}");
        return Err(volume.damage(&name, PLATE_BYTES as u64, problem));
    }
    let body_bytes = usize::try_from(body_bytes).unwrap_or(usize::MAX);
    let mut body = vec![0; body_bytes];
    handle.read_at(PLATE_BYTES as u64, &mut body)?;
    if u64::from(plate::checksum(0, &body)) != crc {
        let problem = format!("the checksum of the snapshot does not match; {ADVICE}");
        return Err(volume.damage(&name, PLATE_BYTES as u64, problem));
    }
    Ok(body.into())
}

/// What to do about damage.
pub(crate) const ADVICE: &str =
    "restore this directory from a copy, or remove it and let the node join anew as a new member";
