//! A disk in memory that forgets what was not synced, fails on command, and can be looked into.
#![allow(unreachable_pub)]

use consensus_wal::{Disk, DiskFile};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

pub const SECTOR: u64 = 512;

/// A small generator of choices: the same seed gives the same choices.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub fn bytes(&mut self, length: u64) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

#[derive(Clone, Debug, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// What each sector held after each write to it, oldest first.
    unsynced: Vec<Piece>,
    last_write: u64,
}

/// One sector as one write left it. A disk writes a sector as a whole, with all that earlier writes put into it.
#[derive(Clone, Debug)]
struct Piece {
    write: u64,
    offset: u64,
    bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Naming {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

#[derive(Debug, Default)]
struct State {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unsynced: Vec<Naming>,
    budget: Option<u64>,
    room: Option<u64>,
    writes: u64,
    syncs: u64,
    forgets: bool,
}

/// Clones are handles to the same disk.
#[derive(Clone, Debug, Default)]
pub struct FaultyDisk(Rc<RefCell<State>>);

#[derive(Clone, Debug)]
pub struct FaultyFile(FaultyDisk, usize);

fn put(bytes: &mut Vec<u8>, offset: u64, piece: &[u8]) {
    let from = offset as usize;
    let to = from + piece.len();
    if bytes.len() < to {
        bytes.resize(to, 0);
    }
    bytes[from..to].copy_from_slice(piece);
}

impl Content {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        put(&mut self.now, offset, bytes);
        self.last_write += 1;
        let end = offset + bytes.len() as u64;
        let mut sector = offset / SECTOR * SECTOR;
        while sector < end {
            let to = (sector + SECTOR).min(self.now.len() as u64);
            let image = self.now[sector as usize..to as usize].to_vec();
            self.unsynced.push(Piece { write: self.last_write, offset: sector, bytes: image });
            sector += SECTOR;
        }
    }

    /// Each sector of each unsynced write survives or not; the last write may stop at any byte.
    fn crash(&mut self, keep: u64, dice: &mut Dice) {
        let mut bytes = std::mem::take(&mut self.durable);
        let pieces = std::mem::take(&mut self.unsynced);
        let span = pieces.iter().filter(|piece| piece.write == self.last_write);
        let (from, to) = span.fold((u64::MAX, 0), |(from, to), piece| {
            (from.min(piece.offset), to.max(piece.offset + piece.bytes.len() as u64))
        });
        let tear = if dice.below(3) == 0 && from < to { from + dice.below(to - from) } else { u64::MAX };
        for piece in pieces {
            let end = piece.offset + piece.bytes.len() as u64;
            let whole = piece.write < self.last_write || end <= tear;
            if whole && dice.below(100) < keep {
                put(&mut bytes, piece.offset, &piece.bytes);
            } else if !whole && piece.offset < tear {
                put(&mut bytes, piece.offset, &piece.bytes[..(tear - piece.offset) as usize]);
            } else if dice.below(4) == 0 && (bytes.len() as u64) < end {
                bytes.resize(end as usize, 0);
            }
        }
        self.now.clone_from(&bytes);
        self.durable = bytes;
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: &Naming) {
    match change {
        Naming::Create(name, file) => {
            names.insert(name.clone(), *file);
        }
        Naming::Rename(from, to) => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        Naming::Remove(name) => {
            names.remove(name);
        }
    }
}

impl State {
    fn operate(&mut self) -> io::Result<()> {
        match &mut self.budget {
            Some(0) => Err(io::Error::other("the power is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn change(&mut self, change: Naming) {
        apply(&mut self.names, &change);
        self.unsynced.push(change);
    }
}

impl FaultyDisk {
    /// The power fails after this many more operations.
    pub fn fail_after(&self, operations: u64) {
        self.0.borrow_mut().budget = Some(operations);
    }

    /// Writes that would make the files longer than this in total fail with "no space left".
    pub fn set_room(&self, bytes: Option<u64>) {
        self.0.borrow_mut().room = bytes;
    }

    /// Power fails, if it has not, and returns.
    pub fn crash(&self, dice: &mut Dice) {
        let mut state = self.0.borrow_mut();
        let keep = [0, 50, 90, 100][dice.below(4) as usize];
        for file in &mut state.files {
            file.crash(keep, dice);
        }
        for change in std::mem::take(&mut state.unsynced) {
            if dice.below(100) < keep {
                apply(&mut state.durable_names, &change);
            }
        }
        state.names = state.durable_names.clone();
        state.budget = None;
    }

    /// The process dies and is started again; the operating system lives on, with all that was written.
    pub fn restart_process(&self) {
        self.0.borrow_mut().budget = None;
    }

    /// A sync that fails from now on leaves memory that is taken for clean, as Linux does.
    pub fn forget_failed_syncs(&self, forgets: bool) {
        self.0.borrow_mut().forgets = forgets;
    }

    pub fn writes_and_syncs(&self) -> (u64, u64) {
        (self.0.borrow().writes, self.0.borrow().syncs)
    }

    pub fn names(&self) -> Vec<String> {
        self.0.borrow().names.keys().cloned().collect()
    }

    pub fn contents(&self, name: &str) -> Vec<u8> {
        let state = self.0.borrow();
        state.files[state.names[name]].now.clone()
    }

    /// Every file, as a fresh disk would hold it.
    pub fn image(&self) -> BTreeMap<String, Vec<u8>> {
        self.names().into_iter().map(|name| (name.clone(), self.contents(&name))).collect()
    }

    pub fn of_image(image: &BTreeMap<String, Vec<u8>>) -> Self {
        let disk = Self::default();
        {
            let mut state = disk.0.borrow_mut();
            for (name, bytes) in image {
                let file = state.files.len();
                let content = Content { now: bytes.clone(), durable: bytes.clone(), ..Content::default() };
                state.files.push(content);
                state.names.insert(name.clone(), file);
            }
            state.durable_names = state.names.clone();
        }
        disk
    }
}

impl Disk for FaultyDisk {
    type File = FaultyFile;

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.borrow_mut().operate()?;
        Ok(self.names())
    }

    fn open(&self, name: &str) -> io::Result<FaultyFile> {
        let mut state = self.0.borrow_mut();
        state.operate()?;
        let file = state.names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(FaultyFile(self.clone(), file))
    }

    fn create(&self, name: &str) -> io::Result<FaultyFile> {
        let mut state = self.0.borrow_mut();
        state.operate()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = state.files.len();
        state.files.push(Content::default());
        state.change(Naming::Create(name.into(), file));
        Ok(FaultyFile(self.clone(), file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.operate()?;
        state.change(Naming::Rename(from.into(), to.into()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.operate()?;
        if !state.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(Naming::Remove(name.into()));
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.operate()?;
        state.unsynced.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }
}

impl DiskFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.0.0.borrow_mut();
        state.operate()?;
        Ok(state.files[self.1].now.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut state = self.0.0.borrow_mut();
        state.operate()?;
        let file = &state.files[self.1].now;
        let bytes = file.get(offset as usize..offset as usize + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.0.borrow_mut();
        state.operate()?;
        state.writes += 1;
        let used: usize = state.names.values().map(|&file| state.files[file].now.len()).sum();
        let grown = (offset as usize + bytes.len()).saturating_sub(state.files[self.1].now.len());
        if state.room.is_some_and(|room| (used + grown) as u64 > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = &mut state.files[self.1];
        file.write(offset, bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.0.borrow_mut();
        if let Err(cause) = state.operate() {
            if state.forgets {
                state.files[self.1].unsynced.clear();
            }
            return Err(cause);
        }
        state.syncs += 1;
        let file = &mut state.files[self.1];
        for piece in std::mem::take(&mut file.unsynced) {
            put(&mut file.durable, piece.offset, &piece.bytes);
        }
        Ok(())
    }
}
