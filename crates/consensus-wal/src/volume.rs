//! The disk with errors that name the operation and the file.

use crate::disk::{Disk, DiskFile};
use consensus_core::StorageError;
use std::io;

/// A disk whose errors say what was attempted, and where.
pub(crate) struct Volume<D> {
    disk: D,
}

/// An open file that knows its name.
pub(crate) struct Handle<F> {
    file: F,
    place: String,
}

impl<D: Disk> Volume<D> {
    pub(crate) const fn new(disk: D) -> Self {
        Self { disk }
    }

    pub(crate) const fn disk(&self) -> &D {
        &self.disk
    }

    pub(crate) fn place(&self, name: &str) -> String {
        self.disk.describe(name)
    }

    pub(crate) fn list(&self) -> Result<Vec<String>, StorageError> {
        self.disk.list().map_err(|cause| self.failure("listing", "", &cause))
    }

    pub(crate) fn open(&self, name: &str) -> Result<Handle<D::File>, StorageError> {
        let file = self.disk.open(name).map_err(|cause| self.failure("opening", name, &cause))?;
        Ok(Handle { file, place: self.place(name) })
    }

    pub(crate) fn create(&self, name: &str) -> Result<Handle<D::File>, StorageError> {
        let file = self.disk.create(name).map_err(|cause| self.failure("creating", name, &cause))?;
        Ok(Handle { file, place: self.place(name) })
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), StorageError> {
        self.disk.rename(from, to).map_err(|cause| self.failure("renaming", from, &cause))
    }

    pub(crate) fn remove(&self, name: &str) -> Result<(), StorageError> {
        self.disk.remove(name).map_err(|cause| self.failure("removing", name, &cause))
    }

    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        self.disk.sync_directory().map_err(|cause| self.failure("syncing the directory", "", &cause))
    }

    /// Damage in a file.
    pub(crate) fn damage(&self, name: &str, offset: u64, problem: impl Into<String>) -> StorageError {
        StorageError::Corrupt { place: self.place(name), offset, problem: problem.into() }
    }

    fn failure(&self, operation: &'static str, name: &str, cause: &io::Error) -> StorageError {
        StorageError::Io { operation, place: self.place(name), cause: cause.to_string() }
    }
}

impl<F: DiskFile> Handle<F> {
    pub(crate) fn len(&self) -> Result<u64, StorageError> {
        self.file.len().map_err(|cause| self.failure("measuring", &cause))
    }

    pub(crate) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        self.file.read_at(offset, buffer).map_err(|cause| self.failure("reading", &cause))
    }

    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        self.file.write_at(offset, bytes).map_err(|cause| self.failure("writing", &cause))
    }

    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        self.file.sync().map_err(|cause| self.failure("syncing", &cause))
    }

    /// Writes zeros over `from..to`.
    pub(crate) fn zero(&self, from: u64, to: u64) -> Result<(), StorageError> {
        static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
        let mut offset = from;
        while offset < to {
            let room = usize::try_from(to - offset).unwrap_or(ZEROS.len()).min(ZEROS.len());
            self.write_at(offset, ZEROS.get(..room).unwrap_or(&ZEROS))?;
            offset += room as u64;
        }
        Ok(())
    }

    /// Reads `from..to` and writes the same bytes again.
    pub(crate) fn rewrite(&self, from: u64, to: u64) -> Result<(), StorageError> {
        const PIECE_BYTES: u64 = 1 << 20;
        let mut buffer = Vec::new();
        let mut offset = from;
        while offset < to {
            let piece = (to - offset).min(PIECE_BYTES);
            buffer.resize(usize::try_from(piece).unwrap_or_default(), 0);
            self.read_at(offset, &mut buffer)?;
            self.write_at(offset, &buffer)?;
            offset += piece;
        }
        Ok(())
    }

    fn failure(&self, operation: &'static str, cause: &io::Error) -> StorageError {
        StorageError::Io { operation, place: self.place.clone(), cause: cause.to_string() }
    }
}
