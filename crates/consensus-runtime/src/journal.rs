//! The journal's thread: whatever the groups queued while the last sync ran becomes durable with the next one.
//!
//! A group's [`WalStorage`] encodes straight into the shared batch, so nothing is copied on the way. The thread swaps the
//! batch for an empty one, writes it, publishes how far each group is durable, and wakes those groups. One thread and one
//! journal serve any number of groups.
//!
//! Invariants:
//! - `durable` of a port never runs ahead of the disk: it is published after the sync that covers it.
//! - After the first error nothing is written any more, and every port shows the error.

use crate::config::StartError;
use crate::metrics::add;
use crate::shared::Shared;
use bytes::Bytes;
use consensus_core::{GroupId, Recovered, Slot, Storage, StorageError, WriteSeq};
use consensus_wal::{Batch, Disk, Journal, RecoveredRaw};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// The most bytes that may wait for one write. A disk that falls this far behind is as good as broken.
const MAX_QUEUED_BYTES: usize = consensus_wal::MAX_FRAME_BYTES / 2;

/// How one group is told that its storage has news. It must not block.
pub(crate) type Wake = Box<dyn Fn() + Send + Sync>;

/// What the thread and the groups share.
struct Desk {
    queue: Mutex<Queue>,
    work: Condvar,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Queue {
    batch: Batch,
    /// The last write of each group that is in `batch`.
    touched: Vec<(Arc<Port>, WriteSeq)>,
    records: usize,
    note: Option<Note>,
    /// Everybody who is to hear of a failure.
    ports: Vec<Arc<Port>>,
    /// A burst has ended since the batch was begun: it may go.
    ready: bool,
    /// The thread waits for work.
    idle: bool,
    closing: Option<Closing>,
    failed: Option<StorageError>,
}

/// The newest note that is to be kept, and everybody who waits until it is.
struct Note {
    bytes: Bytes,
    waiting: Vec<oneshot::Sender<()>>,
}

/// What the thread takes at once, beside the batch.
struct Work {
    records: usize,
    note: Option<Note>,
}

/// How the journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// Everything queued is written first.
    Finish,
    /// What is queued is dropped, as a crash would.
    Abandon,
}

/// What is known of one group's writes.
struct Port {
    group: GroupId,
    durable: AtomicU64,
    failed: OnceLock<StorageError>,
    wake: Wake,
}

/// Keeps notes beside the journal.
#[derive(Clone)]
pub(crate) struct Keeper(Arc<Desk>);

impl Keeper {
    /// Replaces the note. False if the journal has ended before it was durable.
    pub(crate) async fn keep(&self, note: Bytes) -> bool {
        let (done, kept) = oneshot::channel();
        {
            let mut queue = self.0.lock();
            if queue.failed.is_some() || queue.closing.is_some() {
                return false;
            }
            // Only the newest counts: whoever waits for an older one waits for what replaced it.
            let mut waiting = queue.note.take().map(|note| note.waiting).unwrap_or_default();
            waiting.push(done);
            queue.note = Some(Note { bytes: note, waiting });
        }
        self.0.work.notify_one();
        kept.await.is_ok()
    }
}

/// The running thread.
pub(crate) struct JournalThread {
    desk: Arc<Desk>,
    thread: JoinHandle<()>,
}

impl JournalThread {
    pub(crate) fn start<D>(journal: Journal<D>, shared: Arc<Shared>) -> Result<Self, StartError>
    where
        D: Disk + Send + 'static,
        D::File: Send,
    {
        let desk = Arc::new(Desk { queue: Mutex::default(), work: Condvar::new(), shared });
        let theirs = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || {
                let guard = Sentinel(&theirs);
                guard.0.serve(journal);
            })
            .map_err(|cause| StartError::System {
                operation: "start the journal's thread",
                cause: cause.to_string(),
            })?;
        Ok(Self { desk, thread })
    }

    /// The storage of one group, with what the journal held for it.
    pub(crate) fn attach<R>(&self, group: GroupId, recovered: RecoveredRaw, wake: Wake) -> WalStorage<R> {
        let (durable, failed) = (AtomicU64::new(0), OnceLock::new());
        let port = Arc::new(Port { group, durable, failed, wake });
        self.desk.lock().ports.push(Arc::clone(&port));
        let (desk, recovered) = (Arc::clone(&self.desk), Some(recovered));
        WalStorage { desk, port, recovered, record: std::marker::PhantomData }
    }

    pub(crate) fn keeper(&self) -> Keeper {
        Keeper(Arc::clone(&self.desk))
    }

    /// Ends the thread and waits for it; blocks. The journal and its lock on the directory are gone afterwards.
    ///
    /// # Errors
    /// What was queued could not be made durable.
    pub(crate) fn close(self, how: Closing) -> Result<(), StorageError> {
        self.desk.lock().closing.get_or_insert(how);
        self.desk.work.notify_one();
        // If it panicked, the sentinel has left an error.
        drop(self.thread.join());
        self.desk.lock().failed.clone().map_or(Ok(()), Err)
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing in a critical section can panic half-way through a change that matters.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve<D: Disk>(&self, mut journal: Journal<D>) {
        let mut spare = Batch::new();
        let mut touched = Vec::new();
        while let Some(Work { records, note }) = self.next(&mut journal, &mut spare, &mut touched) {
            if let Some(Note { bytes, waiting }) = note {
                if let Err(error) = journal.keep(bytes) {
                    return self.fail(&error);
                }
                for done in waiting {
                    // Whoever went away does not want to know.
                    let _ = done.send(());
                }
            }
            if spare.is_empty() {
                continue;
            }
            let metrics = &self.shared.metrics;
            add(&metrics.journal_bytes, spare.len());
            match journal.write(&mut spare) {
                Ok(_) => {
                    add(&metrics.journal_commits, 1);
                    add(&metrics.journal_records, records);
                    for (port, seq) in touched.drain(..) {
                        let port: Arc<Port> = port;
                        port.durable.store(seq.0, Ordering::Release);
                        (port.wake)();
                    }
                }
                Err(error) => return self.fail(&error),
            }
        }
    }

    /// Waits for work and takes it; `None` when it is time to end. The waiting time is used to prepare the disk.
    fn next<D: Disk>(
        &self,
        journal: &mut Journal<D>,
        spare: &mut Batch,
        touched: &mut Vec<(Arc<Port>, WriteSeq)>,
    ) -> Option<Work> {
        let mut queue = self.lock();
        let mut prepared = false;
        loop {
            match queue.closing {
                Some(Closing::Abandon) => return None,
                Some(Closing::Finish) if queue.batch.is_empty() && queue.note.is_none() => return None,
                Some(Closing::Finish) => break,
                None if queue.ready || queue.note.is_some() => break,
                None => {}
            }
            if !prepared {
                drop(queue);
                prepared = true;
                if let Err(error) = journal.prepare() {
                    self.fail(&error);
                    return None;
                }
                queue = self.lock();
                continue;
            }
            queue.idle = true;
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle = false;
        }
        queue.ready = false;
        std::mem::swap(&mut queue.batch, spare);
        std::mem::swap(&mut queue.touched, touched);
        Some(Work { records: std::mem::take(&mut queue.records), note: queue.note.take() })
    }

    fn fail(&self, error: &StorageError) {
        tracing::error!(%error, "the journal failed: the node stops");
        let ports = {
            let mut queue = self.lock();
            queue.failed.get_or_insert_with(|| error.clone());
            std::mem::take(&mut queue.ports)
        };
        for port in ports {
            // The first error is the one that counts.
            drop(port.failed.set(error.clone()));
            (port.wake)();
        }
    }
}

/// A thread that ends or panics must not leave anybody waiting for ever.
struct Sentinel<'a>(&'a Desk);

impl Drop for Sentinel<'_> {
    fn drop(&mut self) {
        self.0.lock().note = None;
        if std::thread::panicking() {
            let (operation, place) = ("writing", "the journal".into());
            self.0.fail(&StorageError::Io { operation, place, cause: "its thread panicked".into() });
        }
    }
}

/// One group's storage: encodes on the core loop, and leaves writing to the thread.
pub(crate) struct WalStorage<R> {
    desk: Arc<Desk>,
    port: Arc<Port>,
    recovered: Option<RecoveredRaw>,
    record: std::marker::PhantomData<fn() -> R>,
}

impl<R> WalStorage<R> {
    fn queue(&self, seq: WriteSeq, records: usize, fill: impl FnOnce(&mut Batch, GroupId)) {
        let mut queue = self.desk.lock();
        if queue.failed.is_none() && queue.batch.len() > MAX_QUEUED_BYTES {
            queue.failed = Some(StorageError::Io {
                operation: "writing",
                place: "the journal".into(),
                cause: format!("the disk is so slow that {} bytes wait for it", queue.batch.len()),
            });
        }
        if let Some(error) = &queue.failed {
            drop(self.port.failed.set(error.clone()));
            return;
        }
        fill(&mut queue.batch, self.port.group);
        queue.records += records;
        match queue.touched.iter_mut().find(|(port, _)| Arc::ptr_eq(port, &self.port)) {
            Some((_, last)) => *last = seq,
            None => queue.touched.push((Arc::clone(&self.port), seq)),
        }
    }
}

impl<R: Serialize + DeserializeOwned> Storage<R> for WalStorage<R> {
    fn recover(&mut self) -> Result<Recovered<R>, StorageError> {
        self.recovered.take().unwrap_or_default().decode()
    }

    fn append(&mut self, seq: WriteSeq, record: R) {
        self.queue(seq, 1, |batch, group| batch.append(group, &record));
    }

    fn checkpoint(&mut self, seq: WriteSeq, through: Slot, snapshot: Bytes, tail: Vec<R>) {
        self.queue(seq, 1 + tail.len(), |batch, group| batch.checkpoint(group, through, &snapshot, &tail));
    }

    fn flush(&mut self) {
        let mut queue = self.desk.lock();
        queue.ready = !queue.batch.is_empty();
        if queue.idle && queue.ready {
            self.desk.work.notify_one();
        }
    }

    fn durable(&mut self) -> Result<WriteSeq, StorageError> {
        match self.port.failed.get() {
            Some(error) => Err(error.clone()),
            None => Ok(WriteSeq(self.port.durable.load(Ordering::Acquire))),
        }
    }
}
