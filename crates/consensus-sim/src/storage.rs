//! The storage of a simulated node: writes wait for a disk that takes its time, and a crash finds it at any step.

use crate::random::Stream;
use bytes::Bytes;
use consensus_core::memory::MemoryStorage;
use consensus_core::{Recovered, Slot, Storage, StorageError, WriteSeq};
use std::cell::RefCell;
use std::rc::Rc;

/// What outlives a crash.
pub(crate) struct Platter<R>(Rc<RefCell<MemoryStorage<R>>>);

impl<R: Clone> Platter<R> {
    pub(crate) fn new(_segment_bytes: u64) -> Self {
        Self(Rc::new(RefCell::new(MemoryStorage::held())))
    }

    pub(crate) fn crash(&self, _choices: &mut Stream) {
        let found = self.0.replace(MemoryStorage::held()).crash();
        self.0.replace(found);
    }
}

enum Write<R> {
    Append(WriteSeq, R),
    Checkpoint(WriteSeq, Slot, Bytes, Vec<R>),
}

pub(crate) struct SimStorage<R> {
    inner: Rc<RefCell<MemoryStorage<R>>>,
    queued: Vec<Write<R>>,
    in_flight: usize,
    durable: WriteSeq,
}

impl<R: Clone> SimStorage<R> {
    pub(crate) fn on(platter: &Platter<R>) -> Result<Self, StorageError> {
        let inner = Rc::clone(&platter.0);
        Ok(Self { inner, queued: Vec::new(), in_flight: 0, durable: WriteSeq::ZERO })
    }

    /// The power fails while the disk is at work.
    pub(crate) fn interrupt(&mut self, choices: &mut Stream) {
        self.in_flight = choices.index(self.in_flight + 1);
        self.complete();
    }

    /// Sends what is queued to the disk, if it is idle; whether there was anything.
    pub(crate) fn begin(&mut self) -> bool {
        if self.in_flight > 0 {
            return false;
        }
        self.in_flight = self.queued.len();
        self.in_flight > 0
    }

    /// The disk is done with what was sent to it.
    pub(crate) fn complete(&mut self) {
        for write in self.queued.drain(..core::mem::take(&mut self.in_flight)) {
            let mut inner = self.inner.borrow_mut();
            match write {
                Write::Append(seq, record) => inner.append(seq, &record),
                Write::Checkpoint(seq, through, snapshot, tail) => {
                    inner.checkpoint(seq, through, &snapshot, &tail);
                }
            }
            inner.sync();
        }
        self.durable = self.inner.borrow_mut().durable().unwrap_or_default();
    }

    pub(crate) fn waiting(&self) -> usize {
        self.queued.len()
    }
}

impl<R: Clone> Storage<R> for SimStorage<R> {
    fn recover(&mut self) -> Result<Recovered<R>, StorageError> {
        self.inner.borrow_mut().recover()
    }

    fn append(&mut self, seq: WriteSeq, record: &R) {
        self.queued.push(Write::Append(seq, record.clone()));
    }

    fn checkpoint(&mut self, seq: WriteSeq, through: Slot, snapshot: &Bytes, tail: &[R]) {
        self.queued.push(Write::Checkpoint(seq, through, snapshot.clone(), tail.to_vec()));
    }

    fn durable(&mut self) -> Result<WriteSeq, StorageError> {
        Ok(self.durable)
    }
}
