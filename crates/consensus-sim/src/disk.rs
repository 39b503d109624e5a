//! A disk that forgets what was not synced, in every way a real one may.
//!
//! The model: each file has its content as of the last sync, and every version of every sector written since. A crash
//! leaves, per sector, *some* version of its history, and some length between the old and the new one, so that any subset
//! of unsynced writes may survive, whatever their order, and a write of several sectors may be torn. Directory operations
//! that were not synced survive as a prefix or as a subset. What was synced is never touched: nothing durable is lost.
//!
//! Power may fail in the midst of a sequence of operations ([`SimDisk::fail_after`]): every operation from then on reports
//! an error, and the node that called is dead.

mod faults;

pub use faults::DiskFault;

use crate::marks::Forgotten;
use crate::random::{MILLION, Stream};
use consensus_wal::{Disk, DiskFile};
use core::ops::RangeInclusive;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

/// What a disk writes as a whole or not at all.
pub const SECTOR_BYTES: usize = 512;

type FileNumber = u64;

/// A simulated disk of one directory. Clones are handles to the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimDisk(Rc<RefCell<State>>);

/// An open file of a [`SimDisk`].
#[derive(Clone, Debug)]
pub struct SimFile {
    disk: SimDisk,
    number: FileNumber,
}

#[derive(Clone, Debug, Default)]
struct State {
    files: BTreeMap<FileNumber, Content>,
    /// Emptied files: a journal makes and removes many, and their buffers are used again.
    spare: Vec<Content>,
    next: FileNumber,
    /// As of the last directory sync.
    durable_names: BTreeMap<String, FileNumber>,
    names: BTreeMap<String, FileNumber>,
    pending_names: Vec<NameChange>,
    /// Operations until the power fails.
    budget: Option<u64>,
    operations: u64,
    syncs: u64,
    /// Syncs do nothing.
    lies: bool,
    fault: Option<DiskFault>,
    /// The fault that made an operation fail.
    fired: Option<DiskFault>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create(String, FileNumber),
    Rename(String, String),
    Remove(String, FileNumber),
}

#[derive(Clone, Debug, Default)]
struct Content {
    current: Vec<u8>,
    durable: Vec<u8>,
    /// Every version of every sector since the last sync, oldest first.
    dirty: Vec<Version>,
    /// The bytes of those versions: one buffer for all, used again after each sync.
    copies: Vec<u8>,
    /// Every length since the last sync.
    lengths: Vec<usize>,
}

/// A sector as one write left it.
#[derive(Clone, Copy, Debug)]
struct Version {
    sector: usize,
    /// Where its bytes begin among the copies.
    at: usize,
}

impl Content {
    fn note_sectors(&mut self, from: usize, to: usize) {
        if from >= to {
            return;
        }
        let (first, last) = (from / SECTOR_BYTES, (to - 1) / SECTOR_BYTES);
        let at = self.copies.len();
        self.copies.extend_from_slice(sectors(&self.current, first, last));
        self.copies.resize(at + (last + 1 - first) * SECTOR_BYTES, 0);
        let places = (at..).step_by(SECTOR_BYTES);
        self.dirty.extend((first..=last).zip(places).map(|(sector, at)| Version { sector, at }));
    }

    fn grow(&mut self, length: usize) {
        let before = self.current.len();
        self.current.resize(length, 0);
        self.lengths.push(length);
        // The bytes between the old and the new end became zeros.
        self.note_sectors(before, length);
    }

    /// Writes the beginning of `bytes` to `from..end`.
    fn write(&mut self, from: usize, end: usize, bytes: &[u8]) {
        if end == from {
            return;
        }
        if end > self.current.len() {
            self.grow(end);
        }
        if let (Some(target), Some(source)) = (self.current.get_mut(from..end), bytes.get(..end - from)) {
            target.copy_from_slice(source);
        }
        self.note_sectors(from, end);
    }

    /// Whether all of it is durable.
    const fn is_clean(&self) -> bool {
        self.dirty.is_empty() && self.lengths.is_empty()
    }

    /// Its buffers, for another file.
    fn emptied(mut self) -> Self {
        let Self { current, durable, dirty, copies, lengths } = &mut self;
        dirty.clear();
        for bytes in [current, durable, copies] {
            bytes.clear();
        }
        lengths.clear();
        self
    }

    fn sync(&mut self) {
        if self.durable.len() != self.current.len() {
            self.durable.resize(self.current.len(), 0);
        }
        // What one write touched is copied at once.
        for run in self.dirty.chunk_by(|a, b| a.sector + 1 == b.sector) {
            if let (Some(first), Some(last)) = (run.first(), run.last()) {
                write_back(&mut self.durable, &self.current, first.sector..=last.sector);
            }
        }
        self.dirty.clear();
        self.copies.clear();
        self.lengths.clear();
    }

    fn crash(&mut self, keep_ppm: u64, choices: &mut Stream) -> Forgotten {
        let synced = core::mem::take(&mut self.durable);
        let mut survived = synced.clone();
        let mut lengths = core::mem::take(&mut self.lengths);
        lengths.push(survived.len());
        let length = choices.pick(&lengths).copied().unwrap_or_default();
        let widest = lengths.iter().copied().max().unwrap_or_default();
        survived.resize(widest.div_ceil(SECTOR_BYTES) * SECTOR_BYTES, 0);
        // Stable, so that the versions of one sector stay in their order.
        self.dirty.sort_by_key(|version| version.sector);
        for versions in self.dirty.chunk_by(|a, b| a.sector == b.sector) {
            if !choices.chance(keep_ppm) {
                continue;
            }
            // Usually the newest version; sometimes the write-back happened earlier.
            let newest = versions.len().saturating_sub(1);
            let chosen = if choices.chance(MILLION / 4) { choices.index(versions.len()) } else { newest };
            let Some(&Version { sector, at }) = versions.get(chosen) else { continue };
            let (from, to) = (sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
            if let (Some(target), Some(source)) =
                (survived.get_mut(from..to), self.copies.get(at..at + SECTOR_BYTES))
            {
                target.copy_from_slice(source);
            }
        }
        survived.truncate(length);
        let forgotten = Forgotten::of(&self.dirty, &synced, &survived, &self.current);
        self.dirty.clear();
        self.copies.clear();
        self.current.clone_from(&survived);
        self.durable = survived;
        forgotten
    }

    fn forget_unsynced(&mut self) {
        self.dirty.clear();
        self.copies.clear();
        self.lengths.clear();
        self.current.clone_from(&self.durable);
    }
}

impl Forgotten {
    /// What became of `unsynced`, from what it was when it was `synced` to what it should have become.
    fn of(unsynced: &[Version], synced: &[u8], survived: &[u8], current: &[u8]) -> Self {
        let (mut some, mut more) = (false, false);
        for &Version { sector, at: _ } in unsynced {
            let [old, found, new] = [synced, survived, current].map(|bytes| said(bytes, sector));
            some |= found != new;
            more |= found != old;
        }
        Self { some, torn: some && more }
    }
}

/// A sector without its last zeros: they were written ahead, and say nothing.
fn said(bytes: &[u8], sector: usize) -> &[u8] {
    let bytes = sectors(bytes, sector, sector);
    let length = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    bytes.get(..length).unwrap_or_default()
}

/// What there is of these sectors: the last may be cut short by the end of the file.
fn sectors(bytes: &[u8], first: usize, last: usize) -> &[u8] {
    let end = bytes.len().min((last + 1) * SECTOR_BYTES);
    bytes.get(first * SECTOR_BYTES..end).unwrap_or_default()
}

/// Copies some sectors, as far as both have them.
fn write_back(durable: &mut [u8], current: &[u8], sectors: RangeInclusive<usize>) {
    let from = sectors.start() * SECTOR_BYTES;
    let to = ((sectors.end() + 1) * SECTOR_BYTES).min(current.len()).min(durable.len());
    if let (Some(target), Some(source)) = (durable.get_mut(from..to), current.get(from..to)) {
        target.copy_from_slice(source);
    }
}

impl State {
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        match &mut self.budget {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the power has failed")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    fn crash(&mut self, choices: &mut Stream) -> Forgotten {
        let mut forgotten = Forgotten::default();
        let keep_ppm = match choices.below(4) {
            0 => 0,
            1 => MILLION,
            _ => choices.below(MILLION),
        };
        for content in self.files.values_mut() {
            forgotten.add(content.crash(keep_ppm, choices));
        }
        let pending = core::mem::take(&mut self.pending_names);
        let prefix = choices.index(pending.len() + 1);
        let in_order = choices.chance(MILLION / 2);
        for (place, change) in pending.into_iter().enumerate() {
            let survives = if in_order { place < prefix } else { choices.chance(keep_ppm) };
            if survives {
                apply(&mut self.durable_names, change);
            }
        }
        self.start_again();
        forgotten
    }

    fn forget_unsynced(&mut self) {
        for content in self.files.values_mut() {
            content.forget_unsynced();
        }
        self.pending_names.clear();
        self.start_again();
    }

    /// The power is back: what is durable is all that there is.
    fn start_again(&mut self) {
        self.names.clone_from(&self.durable_names);
        let alive: Vec<FileNumber> = self.names.values().copied().collect();
        let lost = self.files.extract_if(.., |number, _| !alive.contains(number));
        self.spare.extend(lost.map(|(_, content)| content.emptied()));
        self.budget = None;
    }

    /// Nothing can bring a removed file back. It still takes its turn in a crash, as one that is empty.
    fn forget(&mut self, number: FileNumber) {
        if let Some(content) = self.files.get_mut(&number).filter(|content| content.is_clean()) {
            let removed = core::mem::take(content);
            self.spare.push(removed.emptied());
        }
    }
}

fn apply(names: &mut BTreeMap<String, FileNumber>, change: NameChange) {
    match change {
        NameChange::Create(name, number) => {
            names.insert(name, number);
        }
        NameChange::Rename(from, to) => {
            if let Some(number) = names.remove(&from) {
                names.insert(to, number);
            }
        }
        NameChange::Remove(name, _) => {
            names.remove(&name);
        }
    }
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty disk whose syncs do nothing, though they say that all is well.
    #[must_use]
    pub fn lying() -> Self {
        let disk = Self::default();
        disk.0.borrow_mut().lies = true;
        disk
    }

    /// The power fails after `operations` more operations.
    pub fn fail_after(&self, operations: u64) {
        self.0.borrow_mut().budget = Some(operations);
    }

    /// The power does not fail after all.
    pub fn keep_power(&self) {
        self.0.borrow_mut().budget = None;
    }

    /// The power fails now, if it has not, and comes back: some of what was not synced is lost.
    pub fn crash(&self, choices: &mut Stream) {
        self.crash_and_tell(choices);
    }

    /// As [`SimDisk::crash`], and tells what that took.
    pub(crate) fn crash_and_tell(&self, choices: &mut Stream) -> Forgotten {
        self.0.borrow_mut().crash(choices)
    }

    /// As [`SimDisk::crash`], but exactly what was synced survives.
    pub fn forget_unsynced(&self) {
        self.0.borrow_mut().forget_unsynced();
    }

    /// How many operations there were, and how many of them were syncs.
    #[must_use]
    pub fn operations(&self) -> (u64, u64) {
        let state = self.0.borrow();
        (state.operations, state.syncs)
    }

    fn file(&self, number: FileNumber) -> SimFile {
        SimFile { disk: self.clone(), number }
    }
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no file {name}"))
}

impl Disk for SimDisk {
    type File = SimFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.0.borrow_mut();
        state.operate()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        let mut state = self.0.borrow_mut();
        state.operate()?;
        let number = state.names.get(name).copied().ok_or_else(|| missing(name))?;
        Ok(self.file(number))
    }

    fn create(&self, name: &str) -> io::Result<SimFile> {
        let mut state = self.0.borrow_mut();
        state.operate()?;
        if state.names.contains_key(name) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{name} exists")));
        }
        let number = state.next;
        state.next += 1;
        let content = state.spare.pop().unwrap_or_default();
        state.files.insert(number, content);
        let change = NameChange::Create(name.into(), number);
        apply(&mut state.names, change.clone());
        state.pending_names.push(change);
        Ok(self.file(number))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.operate()?;
        if !state.names.contains_key(from) {
            return Err(missing(from));
        }
        let change = NameChange::Rename(from.into(), to.into());
        apply(&mut state.names, change.clone());
        state.pending_names.push(change);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.operate()?;
        let Some(&number) = state.names.get(name) else { return Err(missing(name)) };
        let change = NameChange::Remove(name.into(), number);
        apply(&mut state.names, change.clone());
        state.pending_names.push(change);
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.operate()?;
        state.syncs += 1;
        if state.lies {
            return Ok(());
        }
        if state.failing_sync().is_some() {
            return Err(faults::failed_sync());
        }
        for change in core::mem::take(&mut state.pending_names) {
            if let NameChange::Remove(_, number) = change {
                state.forget(number);
            }
            apply(&mut state.durable_names, change);
        }
        Ok(())
    }
}

impl SimFile {
    fn with<T>(&self, act: impl FnOnce(&mut Content) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.0.borrow_mut();
        state.operate()?;
        let content = state.files.get_mut(&self.number).ok_or_else(|| missing("with this number"))?;
        act(content)
    }
}

fn place(offset: u64, length: usize) -> io::Result<(usize, usize)> {
    let from = usize::try_from(offset).ok();
    from.and_then(|from| Some((from, from.checked_add(length)?)))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "beyond what a disk can hold"))
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|content| Ok(content.current.len() as u64))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let (from, to) = place(offset, buffer.len())?;
        self.with(|content| {
            let bytes = content.current.get(from..to).ok_or(io::ErrorKind::UnexpectedEof)?;
            buffer.copy_from_slice(bytes);
            Ok(())
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (from, to) = place(offset, bytes.len())?;
        let length = self.with(|content| Ok(content.current.len()))?;
        let mut state = self.disk.0.borrow_mut();
        let end = state.room(length, to).max(from);
        let content = state.files.get_mut(&self.number).ok_or_else(|| missing("with this number"))?;
        content.write(from, end, bytes);
        if end < to { Err(faults::no_space()) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let (lies, failing) = {
            let mut state = self.disk.0.borrow_mut();
            state.syncs += 1;
            (state.lies, if state.lies { None } else { state.failing_sync() })
        };
        self.with(|content| match failing {
            Some(salt) => {
                content.fail_sync(salt);
                Err(faults::failed_sync())
            }
            None => {
                if !lies {
                    content.sync();
                }
                Ok(())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(disk: &SimDisk, name: &str) -> Vec<u8> {
        let file = disk.open(name).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_was_synced_survives_every_crash() {
        for seed in 0..200 {
            let (disk, mut choices) = (SimDisk::new(), Stream::derive(seed, "disk"));
            let file = disk.create("a").unwrap();
            file.write_at(0, &[7; 1500]).unwrap();
            file.sync().unwrap();
            disk.sync_directory().unwrap();
            file.write_at(1500, &[8; 3000]).unwrap();
            disk.crash(&mut choices);
            let bytes = read(&disk, "a");
            assert_eq!(bytes.get(..1500), Some([7; 1500].as_slice()));
            assert!(bytes.len() <= 4500);
        }
    }

    #[test]
    fn a_clean_crash_leaves_exactly_what_was_synced() {
        let disk = SimDisk::new();
        let file = disk.create("a").unwrap();
        file.write_at(0, &[7; 1500]).unwrap();
        file.sync().unwrap();
        disk.sync_directory().unwrap();
        file.write_at(1000, &[8; 3000]).unwrap();
        disk.create("b").unwrap();
        disk.rename("a", "c").unwrap();
        disk.forget_unsynced();
        assert_eq!((disk.list().unwrap(), read(&disk, "a")), (vec!["a".to_owned()], vec![7; 1500]));
    }

    #[test]
    fn unsynced_writes_survive_in_any_subset() {
        let (mut none, mut all, mut torn) = (false, false, false);
        for seed in 0..200 {
            let (disk, mut choices) = (SimDisk::new(), Stream::derive(seed, "disk"));
            let file = disk.create("a").unwrap();
            file.write_at(0, &[0; 2048]).unwrap();
            file.sync().unwrap();
            disk.sync_directory().unwrap();
            file.write_at(0, &[1; 2048]).unwrap();
            disk.crash(&mut choices);
            let ones = read(&disk, "a").iter().filter(|&&byte| byte == 1).count();
            assert_eq!(ones % SECTOR_BYTES, 0, "a sector is never torn");
            none |= ones == 0;
            all |= ones == 2048;
            torn |= (1..2048).contains(&ones);
        }
        assert!(none && all && torn, "none {none}, all {all}, torn {torn}");
    }

    #[test]
    fn names_that_were_not_synced_may_be_lost_and_removed_files_may_return() {
        let (mut lost, mut kept, mut back) = (false, false, false);
        for seed in 0..200 {
            let (disk, mut choices) = (SimDisk::new(), Stream::derive(seed, "disk"));
            disk.create("old").unwrap();
            disk.sync_directory().unwrap();
            disk.create("new").unwrap();
            disk.remove("old").unwrap();
            disk.crash(&mut choices);
            let names = disk.list().unwrap();
            lost |= !names.contains(&"new".to_string());
            kept |= names.contains(&"new".to_string());
            back |= names.contains(&"old".to_string());
        }
        assert!(lost && kept && back, "lost {lost}, kept {kept}, back {back}");
    }

    #[test]
    fn nothing_works_after_the_power_failed() {
        let disk = SimDisk::new();
        let file = disk.create("a").unwrap();
        disk.fail_after(1);
        assert!(file.write_at(0, b"x").is_ok());
        assert!(file.sync().is_err() && disk.list().is_err());
        disk.crash(&mut Stream::derive(1, "disk"));
        assert!(disk.list().is_ok());
    }
}
