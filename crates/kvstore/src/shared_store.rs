//! The store as its threads share it: the protocol's writes, those who serve reads look at the same one, and snapshots are copied
//! beside both.
//!
//! **Intuition.** The store keeps all versions of all keys, and a write adds one. So a state of the past can be read off the
//! store of later, as long as nothing was compacted away: a snapshot is copied a part at a time, while writes go on.

use crate::proto::etcdserverpb::{RangeRequest, RangeResponse};
use crate::store::{Copying, Moment, Store, StoreError};
use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

/// How many bytes of a snapshot are copied at once: a writer waits no longer than that takes.
const COPY_BYTES: usize = 256 << 10;

/// A store that is written by one and read by many.
#[derive(Clone, Debug, Default)]
pub struct SharedStore(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    store: RwLock<Store>,
    /// How many times another state was installed; changes while the store is locked for writing.
    installs: AtomicU64,
    /// States that are held fast, to be copied: whoever takes something away from the store copies them before.
    held: Mutex<Vec<Weak<Held>>>,
}

impl SharedStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The store, to read. Writers wait meanwhile: do not hold it across an await.
    pub fn read(&self) -> RwLockReadGuard<'_, Store> {
        // A reader never leaves the store half-written, and a writer's panic ends the process.
        self.0.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a range request finds in it now.
    ///
    /// # Errors
    /// If the revision was compacted or lies in the future.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, StoreError> {
        self.read().range(request)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Store> {
        self.0.store.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, Vec<Weak<Held>>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn installs(&self) -> u64 {
        self.0.installs.load(Relaxed)
    }

    /// Holds the present state fast, until it is copied or let go.
    pub(crate) fn hold(&self) -> Arc<Held> {
        let copy = Mutex::new(Copy::Due(self.read().moment()));
        let held = Arc::new(Held { copy, installs: self.installs(), store: self.clone() });
        let mut all = self.held();
        all.retain(|known| known.strong_count() > 0);
        all.push(Arc::downgrade(&held));
        held
    }

    /// Copies what is held fast: something of it will be gone.
    pub(crate) fn copy_held(&self) {
        let all = std::mem::take(&mut *self.held());
        all.iter().filter_map(Weak::upgrade).for_each(|held| held.copy_now());
    }

    /// Another state takes the place of this one.
    pub(crate) fn replace(&self, store: Store) {
        let mut place = self.write();
        self.0.installs.fetch_add(1, Relaxed);
        *place = store;
    }
}

/// A state that is held fast.
#[derive(Debug)]
pub(crate) struct Held {
    copy: Mutex<Copy>,
    /// Another state was installed since, if the store counts more of these.
    installs: u64,
    store: SharedStore,
}

/// How far the copy of a state is.
#[derive(Debug)]
enum Copy {
    Due(Moment),
    Begun(Copying),
    /// Whole, and taken away or not; `is_alone` if nothing stands in front of it.
    Done {
        bytes: Bytes,
        is_alone: bool,
    },
    /// The state is gone.
    Lost,
}

impl Held {
    /// Copies the state behind `front`; `None` if another one was installed before that was done.
    pub(crate) fn copy_behind(&self, front: Vec<u8>) -> Option<Bytes> {
        let mut front = Some(front);
        loop {
            let mut copy = self.copy();
            match &mut *copy {
                Copy::Due(moment) => {
                    *copy = Copy::Begun(moment.copy_behind(front.take().unwrap_or_default()));
                }
                Copy::Begun(_) => self.go_on(&mut copy, COPY_BYTES, false),
                Copy::Done { bytes, is_alone: false } => return Some(std::mem::take(bytes)),
                Copy::Done { bytes, is_alone: true } => {
                    let front = front.take().unwrap_or_default();
                    return Some([&front, &bytes[..]].concat().into());
                }
                Copy::Lost => return None,
            }
        }
    }

    /// Copies everything that is missing.
    fn copy_now(&self) {
        let mut copy = self.copy();
        let is_alone = matches!(*copy, Copy::Due(_));
        if let Copy::Due(moment) = &*copy {
            *copy = Copy::Begun(moment.copy_behind(Vec::new()));
        }
        self.go_on(&mut copy, usize::MAX, is_alone);
    }

    fn go_on(&self, copy: &mut Copy, bytes: usize, is_alone: bool) {
        let Copy::Begun(copying) = copy else { return };
        let store = self.store.read();
        if self.store.installs() != self.installs {
            *copy = Copy::Lost;
        } else if !store.copy_more(copying, bytes)
            && let Copy::Begun(whole) = std::mem::replace(copy, Copy::Lost)
        {
            *copy = Copy::Done { bytes: whole.finish(), is_alone };
        }
    }

    fn copy(&self) -> MutexGuard<'_, Copy> {
        self.copy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
