//! The digest of a snapshot: what tells rot from what a state machine once gave, and one snapshot from another.
//!
//! It is made once, when a snapshot is taken, and checked by whoever received all of it and by whoever reads it back from a disk.
//! It speaks of the place and of the members too: a snapshot that is right and put in the wrong place is wrong.

use crate::entry::Position;
use consensus_core::{Members, wire};
use core::fmt;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What is hashed first, so that no digest of something else is taken for one of these.
const DOMAIN: &[u8] = b"raft snapshot 1";

/// SHA-256 of a snapshot with its place, its members and its length.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes, which hold everything up to `through`, where these are the members.
    #[must_use]
    pub fn of(through: Position, members: &Members, bytes: &[u8]) -> Self {
        let mut digester = Digester::new(through, members, bytes.len() as u64);
        digester.add(bytes);
        digester.finish()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A digest in the making, as the bytes come in.
#[derive(Clone, Debug)]
pub(crate) struct Digester(Sha256);

impl Digester {
    /// `total` is how many bytes there will be.
    pub(crate) fn new(through: Position, members: &Members, total: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(wire::encode(&(through, members, total)));
        Self(hash)
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus_core::{Epoch, NodeId, Slot};
    use quickcheck::quickcheck;
    use std::vec::Vec;

    fn at(term: u64, slot: u64) -> Position {
        Position { term: Epoch(term), slot: Slot(slot) }
    }

    quickcheck! {
        // tests [R50]
        fn pieces_make_the_digest_of_the_whole(bytes: Vec<u8>, size: u8) -> bool {
            let members = Members::of([NodeId(1)]);
            let mut digester = Digester::new(at(1, 2), &members, bytes.len() as u64);
            bytes.chunks(usize::from(size) + 1).for_each(|piece| digester.add(piece));
            digester.finish() == Digest::of(at(1, 2), &members, &bytes)
        }

        // tests [R50]
        fn whatever_differs_gives_another_digest(bytes: Vec<u8>, place: usize, bit: u8) -> bool {
            let members = Members::of([NodeId(1), NodeId(2)]);
            let whole = Digest::of(at(1, 2), &members, &bytes);
            let mut rotten = bytes.clone();
            let place = place % bytes.len().max(1);
            rotten.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= 1 << (bit % 8));
            let others = Members::of([NodeId(1)]).with_learners([NodeId(2)]);
            let same = (bytes.is_empty() || whole != Digest::of(at(1, 2), &members, &rotten))
                && whole != Digest::of(at(1, 3), &members, &bytes)
                && whole != Digest::of(at(2, 2), &members, &bytes)
                && whole != Digest::of(at(1, 2), &others, &bytes);
            same && whole == Digest::of(at(1, 2), &members, &bytes)
        }
    }

    /// What is on disks stays readable: another digest of the same snapshot would refuse them all.
    #[test]
    fn the_digest_of_a_snapshot_is_for_good() {
        let digest = Digest::of(at(3, 7), &Members::of([NodeId(1), NodeId(2)]), b"a state");
        let hex: std::string::String = digest.0.iter().map(|byte| std::format!("{byte:02x}")).collect();
        assert_eq!(hex, "fdbb4f0fe2ea357b4be68b58f029efdd2bf3c1366b00c59c1f8f0dec45edff74");
    }
}
