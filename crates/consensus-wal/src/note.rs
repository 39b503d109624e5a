//! The note: a few bytes of the caller's own beside the journal, replaced as a whole. It is written to a draft, synced, and
//! renamed; a crash leaves the old note or the new one.

use crate::disk::Disk;
use crate::identity::newer;
use crate::plate::{self, Kind, PLATE_BYTES, PlateError};
use crate::segment::Owner;
use crate::snapshot::ADVICE;
use crate::volume::Volume;
use bytes::Bytes;
use consensus_core::StorageError;

pub(crate) const NAME: &str = "note";
/// The note before it has its name.
pub(crate) const DRAFT: &str = "note.new";

/// Reads the note; `None` if none was ever written.
pub(crate) fn read<D: Disk>(
    volume: &Volume<D>,
    names: &[String],
    owner: &Owner,
) -> Result<Option<Bytes>, StorageError> {
    if !names.iter().any(|name| name == NAME) {
        return Ok(None);
    }
    let handle = volume.open(NAME)?;
    let length = handle.len()?;
    let damaged = |offset, problem: &str| volume.damage(NAME, offset, format!("{problem}; {ADVICE}"));
    let Some(body_bytes) = length.checked_sub(PLATE_BYTES as u64) else {
        return Err(damaged(0, "it is too short for a note"));
    };
    let mut head = [0; PLATE_BYTES];
    handle.read_at(0, &mut head)?;
    let [cluster, node, named_bytes, crc, _] =
        plate::decode(Kind::Note, owner.seed(), &head).map_err(|error| match error {
            PlateError::Newer(version) => newer(volume, NAME, version),
            PlateError::Unfinished | PlateError::Damaged => damaged(0, "its head is not what was written"),
        })?;
    if (cluster, node) != (owner.identity.cluster.0, owner.identity.node.0) {
        return Err(damaged(0, "it is the note of another directory"));
    }
    if body_bytes != named_bytes {
        return Err(damaged(PLATE_BYTES as u64, "it is shorter or longer than what was written"));
    }
    let mut body = vec![0; usize::try_from(body_bytes).unwrap_or(usize::MAX)];
    handle.read_at(PLATE_BYTES as u64, &mut body)?;
    if u64::from(plate::checksum(0, &body)) != crc {
        return Err(damaged(PLATE_BYTES as u64, "its checksum does not match"));
    }
    Ok(Some(body.into()))
}

/// Replaces the note; it is durable on return.
pub(crate) fn write<D: Disk>(volume: &Volume<D>, owner: &Owner, body: &[u8]) -> Result<(), StorageError> {
    if volume.list()?.iter().any(|name| name == DRAFT) {
        volume.remove(DRAFT)?;
    }
    let (cluster, node) = (owner.identity.cluster.0, owner.identity.node.0);
    let numbers = [cluster, node, body.len() as u64, u64::from(plate::checksum(0, body)), 0];
    let draft = volume.create(DRAFT)?;
    draft.write_at(0, &plate::encode(Kind::Note, owner.seed(), numbers))?;
    if !body.is_empty() {
        draft.write_at(PLATE_BYTES as u64, body)?;
    }
    draft.sync()?;
    volume.rename(DRAFT, NAME)?;
    volume.sync()
}
