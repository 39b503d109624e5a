//! What the journal needs of a disk: one flat directory of files. A simulated disk implements the same two traits, so that
//! the simulator runs the journal's own code.
//!
//! What the journal relies on after a crash: a synced write is there; of an unsynced one, each sector of 512 bytes holds
//! either what was there before or what was written, in any mixture, and at most one sector holds a beginning of what was
//! written; bytes beyond the end of a file that later grows are zeros.

use std::io;

/// One directory. Names are plain file names without a path.
pub trait Disk {
    /// An open file.
    type File: DiskFile;

    /// The names of all files, sorted.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// Makes a new, empty file; an error if it exists. It survives a crash only after [`Disk::sync_directory`].
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// Renames atomically, replacing the target. It survives a crash only after [`Disk::sync_directory`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. It stays removed after a crash only after [`Disk::sync_directory`].
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_directory(&self) -> io::Result<()>;
    /// How an error message names this file; a whole path where there is one.
    fn describe(&self, name: &str) -> String {
        name.into()
    }
}

/// One file.
pub trait DiskFile {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills `buffer` from `offset`; an error of kind `UnexpectedEof` if the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`, growing the file if need be. Durable only after [`DiskFile::sync`].
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything written to this file durable (`fdatasync`).
    fn sync(&self) -> io::Result<()>;
}
