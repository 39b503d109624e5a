//! A real directory that fails when it is told to.

use consensus_wal::{Disk, DiskFile, FileDisk, RealFile};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

#[derive(Clone)]
pub struct Switch(Arc<AtomicBool>);

impl Switch {
    pub fn new() -> Self {
        Self(Arc::default())
    }

    pub fn break_it(&self) {
        self.0.store(true, SeqCst);
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(SeqCst) { Err(io::Error::other("the disk is on fire")) } else { Ok(()) }
    }
}

pub struct BreakableDisk {
    pub inner: FileDisk,
    pub switch: Switch,
}

pub struct BreakableFile {
    inner: RealFile,
    switch: Switch,
}

impl BreakableDisk {
    fn wrap(&self, file: io::Result<RealFile>) -> io::Result<BreakableFile> {
        Ok(BreakableFile { inner: file?, switch: self.switch.clone() })
    }
}

impl Disk for BreakableDisk {
    type File = BreakableFile;

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }
    fn open(&self, name: &str) -> io::Result<BreakableFile> {
        self.wrap(self.inner.open(name))
    }
    fn create(&self, name: &str) -> io::Result<BreakableFile> {
        self.wrap(self.inner.create(name))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }
    fn sync_directory(&self) -> io::Result<()> {
        self.inner.sync_directory()
    }
}

impl DiskFile for BreakableFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_at(offset, bytes)
    }
    fn sync(&self) -> io::Result<()> {
        self.switch.check()?;
        self.inner.sync()
    }
}
