//! The envelope of a snapshot: the client sessions, then the state machine's own bytes.
//!
//! ```text
//! offset 0   format version, 1 byte
//! offset 1   length of the session table, 8 bytes little-endian
//! offset 9   the session table (postcard), then the state machine's snapshot up to the end
//! ```

use crate::machine::InstallError;
use crate::session::Sessions;
use crate::wire;
use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;

const HEADER_BYTES: usize = 9;

pub(crate) fn seal(sessions: &Sessions, machine: &Bytes) -> Bytes {
    let mut bytes = head(sessions, machine.len());
    bytes.extend_from_slice(machine);
    bytes.into()
}

/// What stands in front of the state machine's snapshot, with room for so many bytes of that.
pub(crate) fn head(sessions: &Sessions, room: usize) -> Vec<u8> {
    let table = wire::encode(sessions);
    let mut bytes = Vec::with_capacity(HEADER_BYTES + table.len() + room);
    bytes.push(wire::FORMAT_VERSION);
    bytes.extend_from_slice(&(table.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&table);
    bytes
}

pub(crate) fn open(snapshot: &Bytes) -> Result<(Sessions, Bytes), InstallError> {
    let header: &[u8; HEADER_BYTES] = snapshot
        .first_chunk()
        .ok_or_else(|| InstallError(format!("{} bytes are too few for a header", snapshot.len())))?;
    let [version, length @ ..] = *header;
    if version != wire::FORMAT_VERSION {
        let known = wire::FORMAT_VERSION;
        return Err(InstallError(format!("it has format version {version}, and this program knows {known}")));
    }
    let end = usize::try_from(u64::from_le_bytes(length))
        .ok()
        .and_then(|length| length.checked_add(HEADER_BYTES))
        .filter(|&end| end <= snapshot.len())
        .ok_or_else(|| InstallError("its session table is longer than the snapshot".into()))?;
    let table = snapshot.get(HEADER_BYTES..end).unwrap_or_default();
    let sessions = wire::decode(table, table.len())
        .map_err(|error| InstallError(format!("its session table is malformed: {error}")))?;
    Ok((sessions, snapshot.slice(end..)))
}
