//! The identity file: whose directory this is. Written once, after the first segment: where it is, a segment is too.

use crate::FORMAT_VERSION;
use crate::disk::{Disk, DiskFile};
use crate::journal::{Identity, begin_segment};
use crate::note;
use crate::plate::{self, Kind, PLATE_BYTES, PlateError};
use crate::segment::{self, Owner, SegmentPlate, Window};
use crate::snapshot::{self, ADVICE};
use crate::volume::{Handle, Volume};
use consensus_core::{ClusterId, NodeId, StorageError};

const NAME: &str = "identity";
/// The identity before it has its name.
pub(crate) const DRAFT: &str = "identity.new";

/// Reads whose directory this is; `None` if nobody's yet. Anybody's but the expected one's is refused.
pub(crate) fn read<D: Disk>(
    volume: &Volume<D>,
    names: &[String],
    expected: Identity,
) -> Result<Option<Owner>, StorageError> {
    let Some(owner) = peek(volume, names)? else { return Ok(None) };
    let found = owner.identity;
    if found != expected {
        let problem = format!(
            "it belongs to node {} of cluster {}, not to node {} of cluster {}; start the node that it belongs to, or \
             choose another directory",
            found.node.0, found.cluster.0, expected.node.0, expected.cluster.0
        );
        return Err(StorageError::Foreign { place: volume.place(NAME), problem });
    }
    Ok(Some(owner))
}

/// Reads whose directory this is, whoever that may be; `None` if nobody's yet.
pub(crate) fn peek<D: Disk>(volume: &Volume<D>, names: &[String]) -> Result<Option<Owner>, StorageError> {
    if !names.iter().any(|name| name == NAME) {
        return Ok(None);
    }
    let handle = volume.open(NAME)?;
    let mut window = Window::over(&handle)?;
    let [cluster, node, salt, _, _] =
        plate::decode(Kind::Identity, 0, window.at(0, PLATE_BYTES)?).map_err(|error| match error {
            PlateError::Newer(version) => newer(volume, NAME, version),
            PlateError::Unfinished | PlateError::Damaged => {
                volume.damage(NAME, 0, format!("it is not the identity that was written; {ADVICE}"))
            }
        })?;
    if window.length() != PLATE_BYTES as u64 {
        let problem = format!("something follows the identity; {ADVICE}");
        return Err(volume.damage(NAME, PLATE_BYTES as u64, problem));
    }
    let identity = Identity { cluster: ClusterId(cluster), node: NodeId(node) };
    Ok(Some(Owner { identity, salt }))
}

/// A file of a newer format.
pub(crate) fn newer<D: Disk>(volume: &Volume<D>, name: &str, version: u32) -> StorageError {
    let problem = format!(
        "it has format version {version}, and this program knows versions up to {FORMAT_VERSION}; start a newer program"
    );
    StorageError::Foreign { place: volume.place(name), problem }
}

/// Begins a journal in a directory that is nobody's.
pub(crate) fn create<D: Disk>(
    volume: &Volume<D>,
    names: &[String],
    owner: &Owner,
) -> Result<(), StorageError> {
    for name in names {
        let empty = match segment::parse_name(name) {
            Some(first) => first == 1 && is_unused(&volume.open(name)?)?,
            None => snapshot::parse_name(name).is_none() && name != note::NAME,
        };
        if !empty {
            let problem = "the directory holds a journal, but no identity file says whose; restore the identity file, or \
                           remove the directory and let the node join anew as a new member";
            return Err(StorageError::Foreign { place: volume.place(name), problem: problem.into() });
        }
    }
    // What an earlier attempt left behind when a crash cut it short.
    for name in names.iter().filter(|name| *name == DRAFT || segment::parse_name(name).is_some()) {
        volume.remove(name)?;
    }
    let first = begin_segment(volume, owner, SegmentPlate { first: 1, floor: 1 })?;
    first.handle.sync()?;
    volume.sync()?;
    let Identity { cluster, node } = owner.identity;
    let draft = volume.create(DRAFT)?;
    draft.write_at(0, &plate::encode(Kind::Identity, 0, [cluster.0, node.0, owner.salt, 0, 0]))?;
    draft.sync()?;
    volume.rename(DRAFT, NAME)?;
    volume.sync()
}

/// Whether a segment holds nothing but (at most) its plate.
fn is_unused<F: DiskFile>(handle: &Handle<F>) -> Result<bool, StorageError> {
    let mut window = Window::over(handle)?;
    Ok(window.length() <= PLATE_BYTES as u64 || window.last_used(PLATE_BYTES as u64)?.is_none())
}
