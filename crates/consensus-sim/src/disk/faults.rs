//! Faults of a disk that has power: a sync that fails, no space, a bit that flips. Which sectors a failed sync reached comes
//! from a salt, so that the disk needs no stream of choices of its own.

use super::{Content, SimDisk, State, Version, write_back};
use crate::random::Stream;
use crate::trace::mix;
use std::io;

/// How often a byte that is zero is passed over in search of one that says something.
const MAX_LOOKS: usize = 8;

/// What a disk refuses until it is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// Every sync fails. As on Linux, what was to be synced counts as clean afterwards: it is read back as written, no later
    /// sync writes it, and a loss of power takes what the failed sync had not reached.
    Sync {
        /// Decides which sectors it reached.
        salt: u64,
    },
    /// The files may grow by so many bytes, and no further: a write beyond writes what fits, and fails.
    Full {
        /// Bytes.
        left: usize,
    },
}

impl Content {
    pub(super) fn fail_sync(&mut self, salt: u64) {
        for Version { sector, .. } in self.dirty.drain(..) {
            if mix(salt, sector as u64) & 1 == 1 {
                write_back(&mut self.durable, &self.current, sector..=sector);
            }
        }
        self.copies.clear();
    }

    fn flip(&mut self, offset: usize, bit: u8) {
        for bytes in [&mut self.current, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte ^= 1 << bit;
            }
        }
    }
}

impl State {
    /// The salt of a sync that is to fail.
    pub(super) const fn failing_sync(&mut self) -> Option<u64> {
        match self.fault {
            Some(DiskFault::Sync { salt }) => {
                self.fired = self.fault;
                Some(salt)
            }
            Some(DiskFault::Full { .. }) | None => None,
        }
    }

    /// How far a write up to `to` gets in a file of `length` bytes.
    pub(super) fn room(&mut self, length: usize, to: usize) -> usize {
        let Some(DiskFault::Full { left }) = &mut self.fault else { return to };
        let growth = to.saturating_sub(length);
        if growth <= *left {
            *left -= growth;
            return to;
        }
        let end = length + core::mem::take(left);
        self.fired = self.fault;
        end
    }
}

pub(super) fn failed_sync() -> io::Error {
    io::Error::other("the disk did not take what was to be synced")
}

pub(super) fn no_space() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no space left on the disk")
}

impl SimDisk {
    /// From now on the disk has this fault.
    pub fn arm(&self, fault: DiskFault) {
        self.0.borrow_mut().fault = Some(fault);
    }

    /// The disk has no fault any more. What it refused before stays refused ([`SimDisk::take_fired`]).
    pub fn mend(&self) {
        self.0.borrow_mut().fault = None;
    }

    /// The fault that made an operation fail since this was last asked.
    #[must_use]
    pub fn take_fired(&self) -> Option<DiskFault> {
        self.0.borrow_mut().fired.take()
    }

    /// Whether a fault made an operation fail since [`SimDisk::take_fired`].
    #[must_use]
    pub fn has_fired(&self) -> bool {
        self.0.borrow().fired.is_some()
    }

    /// Another disk with the same content, without faults.
    #[must_use]
    pub fn fork(&self) -> Self {
        let fork = Self::default();
        let state = self.0.borrow().clone();
        *fork.0.borrow_mut() = State { fault: None, fired: None, ..state };
        fork
    }

    /// One bit flips, on the disk and in every cache, mostly in a byte that is not zero. The file and the offset; `None` if
    /// there is no byte.
    pub fn rot(&self, choices: &mut Stream) -> Option<(String, usize)> {
        let mut state = self.0.borrow_mut();
        let filled = |number| state.files.get(number).is_some_and(|content| !content.current.is_empty());
        let files: Vec<(String, u64)> = state
            .names
            .iter()
            .filter(|(_, number)| filled(number))
            .map(|(name, &number)| (name.clone(), number))
            .collect();
        let (name, number) = choices.pick(&files)?.clone();
        let content = state.files.get_mut(&number)?;
        let mut offset = 0;
        for _ in 0..MAX_LOOKS {
            offset = choices.index(content.current.len());
            if content.current.get(offset).is_some_and(|&byte| byte != 0) {
                break;
            }
        }
        content.flip(offset, u8::try_from(choices.below(8)).unwrap_or_default());
        Some((name, offset))
    }
}

#[cfg(test)]
mod tests {
    use super::super::SECTOR_BYTES;
    use super::*;
    use consensus_wal::{Disk, DiskFile};

    fn durable_file(disk: &SimDisk) -> super::super::SimFile {
        let file = disk.create("a").unwrap();
        file.write_at(0, &[1; 4096]).unwrap();
        file.sync().unwrap();
        disk.sync_directory().unwrap();
        file
    }

    fn bytes(disk: &SimDisk) -> Vec<u8> {
        let file = disk.open("a").unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn after_a_failed_sync_the_bytes_are_read_back_and_no_later_sync_saves_them() {
        let disk = SimDisk::new();
        let file = durable_file(&disk);
        file.write_at(0, &[2; 4096]).unwrap();
        disk.arm(DiskFault::Sync { salt: 3 });
        assert!(file.sync().is_err() && disk.has_fired());
        assert!(matches!(disk.take_fired(), Some(DiskFault::Sync { .. })) && !disk.has_fired());
        disk.mend();
        file.sync().unwrap();
        assert_eq!(bytes(&disk), [2; 4096]);
        disk.crash(&mut Stream::derive(1, "disk"));
        let lost = bytes(&disk).iter().filter(|&&byte| byte == 1).count();
        assert!((1..4096).contains(&lost) && lost.is_multiple_of(SECTOR_BYTES), "{lost} bytes are old");
    }

    #[test]
    fn a_full_disk_takes_what_fits_and_overwrites_for_ever() {
        let disk = SimDisk::new();
        let file = durable_file(&disk);
        disk.arm(DiskFault::Full { left: 10 });
        file.write_at(0, &[2; 4096]).unwrap();
        assert!(!disk.has_fired());
        let error = file.write_at(4090, &[3; 20]).unwrap_err();
        assert_eq!((error.kind(), file.len().unwrap()), (io::ErrorKind::StorageFull, 4106));
        assert!(disk.has_fired());
        disk.mend();
        file.write_at(4090, &[3; 20]).unwrap();
        assert_eq!(file.len().unwrap(), 4110);
    }

    #[test]
    fn rot_flips_one_bit_for_good_and_leaves_the_fork_alone() {
        let (disk, mut choices) = (SimDisk::new(), Stream::derive(1, "rot"));
        assert_eq!(disk.rot(&mut choices), None, "an empty disk cannot rot");
        durable_file(&disk);
        let fork = disk.fork();
        let (name, offset) = disk.rot(&mut choices).unwrap();
        disk.crash(&mut choices);
        let flipped = bytes(&disk).get(offset).unwrap() ^ 1;
        assert_eq!((name.as_str(), flipped.count_ones()), ("a", 1));
        assert_eq!(bytes(&disk).iter().filter(|&&byte| byte != 1).count(), 1);
        assert_eq!(bytes(&fork), [1; 4096]);
    }
}
