//! The journal's thread: whatever the groups queued while the last sync ran becomes durable with the next one.
//!
//! A group's [`WalStorage`] encodes straight into the shared batch, so nothing is copied on the way. The thread swaps the
//! batch for an empty one, writes it, publishes how far each group is durable, and rings their bells. One thread and one
//! journal serve any number of groups.
//!
//! Invariants:
//! - `durable` of a port never runs ahead of the disk: it is published after the sync that covers it.
//! - An errand is run when everything that was queued before it is on the disk, and waits for no more than that.
//! - After the first error nothing is written any more, and every port shows the error.

use crate::clock::Clock;
use crate::config::StartError;
use crate::metrics::{HostMetrics, add};
use crate::shared::{End, Shared, StopReason};
use crate::syncs::Syncs;
use crate::title::{Line, Title};
use bytes::Bytes;
use consensus_core::{GroupId, Recovered, Slot, Storage, StorageError, WriteSeq, wire};
use consensus_wal::{Batch, Disk, Journal, RecoveredRaw};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// The most bytes that may wait for one write. A disk that falls this far behind is as good as broken.
const MAX_QUEUED_BYTES: usize = consensus_wal::MAX_FRAME_BYTES / 2;
/// When more than this waits, groups take no more mail until some of it is written.
const FULL_BYTES: usize = 64 << 20;

/// What the thread and the groups share.
pub(crate) struct Desk {
    queue: Mutex<Queue>,
    work: Condvar,
    /// Bytes of the batch.
    queued: AtomicUsize,
    metrics: Arc<HostMetrics>,
    pub(crate) syncs: Syncs,
    /// What ends with the journal.
    end: Arc<End>,
}

#[derive(Default)]
struct Queue {
    batch: Batch,
    /// Counts the batches.
    number: u64,
    /// The last write of each group that is in `batch`.
    touched: Vec<(Arc<Port>, WriteSeq)>,
    records: usize,
    /// With the number of the batch that was open when they came.
    errands: VecDeque<(u64, Errand)>,
    /// Everybody who is to hear of a failure.
    ports: Vec<Arc<Port>>,
    /// A round has ended since the batch was begun: it may go.
    ready: bool,
    /// The thread waits for work.
    idle: bool,
    closing: Option<Closing>,
    failed: Option<StorageError>,
}

/// Something beside writing.
enum Errand {
    /// Read a group back.
    Read(GroupId, oneshot::Sender<Result<RecoveredRaw, StorageError>>),
    /// Say that everything queued before is durable.
    Barrier(oneshot::Sender<Result<(), StorageError>>),
    /// Replace the note beside the journal.
    Keep(Bytes, oneshot::Sender<Result<(), StorageError>>),
}

/// What the thread is to do next.
enum Work {
    Write { records: usize },
    Run(Errand),
    End,
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
pub(crate) struct Port {
    group: GroupId,
    durable: AtomicU64,
    failed: OnceLock<StorageError>,
    /// Whether the group is in the journal, so that it may start again only as what it was.
    is_titled: AtomicBool,
    owner: Arc<Shared>,
}

impl Port {
    pub(crate) fn is_titled(&self) -> bool {
        self.is_titled.load(Ordering::Acquire)
    }
}

/// The running thread.
pub(crate) struct JournalThread {
    desk: Arc<Desk>,
    thread: JoinHandle<()>,
}

impl JournalThread {
    /// Starts the thread. If the journal fails, `end` is asked for.
    pub(crate) fn start<D>(
        journal: Journal<D>,
        metrics: Arc<HostMetrics>,
        end: Arc<End>,
    ) -> Result<Self, StartError>
    where
        D: Disk + Send + 'static,
        D::File: Send,
    {
        let (queue, work, queued) = (Mutex::default(), Condvar::new(), AtomicUsize::new(0));
        let syncs = Syncs::default();
        let desk = Arc::new(Desk { queue, work, queued, metrics, syncs, end });
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

    pub(crate) const fn desk(&self) -> &Arc<Desk> {
        &self.desk
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
    /// The storage of one group, with what the journal holds for it.
    pub(crate) fn attach<R>(
        self: &Arc<Self>,
        group: GroupId,
        title: Title,
        recovered: RecoveredRaw,
        owner: Arc<Shared>,
    ) -> (WalStorage<R>, Arc<Port>) {
        let port = Arc::new(Port {
            group,
            durable: AtomicU64::new(0),
            failed: OnceLock::new(),
            is_titled: AtomicBool::new(!recovered.records.is_empty()),
            owner,
        });
        self.lock().ports.push(Arc::clone(&port));
        let storage = WalStorage {
            desk: Arc::clone(self),
            port: Arc::clone(&port),
            title,
            recovered: Some(recovered),
            place: None,
            record: std::marker::PhantomData,
        };
        (storage, port)
    }

    /// The group writes no more.
    pub(crate) fn detach(&self, port: &Arc<Port>) {
        self.lock().ports.retain(|other| !Arc::ptr_eq(other, port));
    }

    /// Replaces everything that a group wrote by a title that says that it was removed.
    pub(crate) fn bury(&self, group: GroupId, title: &Title) {
        let grave = wire::encode(&title.of_grave());
        self.lock().batch.replace_bytes(group, &[grave.into()]);
    }

    /// Reads back what is durable of a group, and what was queued of it before.
    pub(crate) async fn read_group(&self, group: GroupId) -> Result<RecoveredRaw, StorageError> {
        self.run(|answer| Errand::Read(group, answer)).await
    }

    /// Waits until everything that was queued is durable.
    pub(crate) async fn barrier(&self) -> Result<(), StorageError> {
        self.run(Errand::Barrier).await
    }

    /// The end of a round: what was queued may go.
    pub(crate) fn hand_over(&self) {
        let mut queue = self.lock();
        queue.ready = !queue.batch.is_empty();
        if queue.idle && queue.ready {
            self.work.notify_one();
        }
    }

    /// How much waits for the disk.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Whether so much waits for the disk that groups should not add to it.
    pub(crate) fn is_full(&self) -> bool {
        self.queued_bytes() > FULL_BYTES
    }

    /// Replaces the note beside the journal; it is durable on return.
    pub(crate) async fn keep(&self, note: Bytes) -> Result<(), StorageError> {
        self.run(|answer| Errand::Keep(note, answer)).await
    }

    async fn run<T>(
        &self,
        errand: impl FnOnce(oneshot::Sender<Result<T, StorageError>>) -> Errand,
    ) -> Result<T, StorageError> {
        let (answer, result) = oneshot::channel();
        {
            let mut queue = self.lock();
            if let Some(error) = &queue.failed {
                return Err(error.clone());
            }
            let number = queue.number;
            queue.errands.push_back((number, errand(answer)));
            self.work.notify_one();
        }
        result.await.unwrap_or_else(|_| {
            let (operation, place) = ("finishing", "the journal".into());
            let ended = || StorageError::Io { operation, place, cause: "it was closed".into() };
            Err(self.lock().failed.clone().unwrap_or_else(ended))
        })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing in a critical section can panic half-way through a change that matters.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve<D: Disk>(&self, mut journal: Journal<D>) {
        let mut spare = Batch::new();
        let mut touched = Vec::new();
        loop {
            match self.next(&mut journal, &mut spare, &mut touched) {
                Work::Write { records } => {
                    if let Err(error) = self.write(&mut journal, &mut spare, &mut touched, records) {
                        return self.fail(&error);
                    }
                }
                // Whoever asked may have gone away.
                Work::Run(Errand::Read(group, answer)) => drop(answer.send(journal.read_group(group))),
                Work::Run(Errand::Barrier(answer)) => drop(answer.send(Ok(()))),
                Work::Run(Errand::Keep(note, answer)) => match journal.keep(note) {
                    Ok(()) => drop(answer.send(Ok(()))),
                    Err(error) => return self.fail(&error),
                },
                Work::End => return self.lock().errands.clear(),
            }
        }
    }

    fn write<D: Disk>(
        &self,
        journal: &mut Journal<D>,
        batch: &mut Batch,
        touched: &mut Vec<(Arc<Port>, WriteSeq)>,
        records: usize,
    ) -> Result<(), StorageError> {
        let (began, bytes) = (Clock::start(), batch.len());
        journal.write(batch)?;
        self.syncs.observe(began.elapsed(), bytes, records);
        add(&self.metrics.journal_bytes, bytes);
        add(&self.metrics.journal_commits, 1);
        add(&self.metrics.journal_records, records);
        for (port, seq) in touched.drain(..) {
            port.durable.store(seq.0, Ordering::Release);
            port.owner.bell.ring();
        }
        Ok(())
    }

    /// Waits for work and takes it. The waiting time is used to prepare the disk.
    fn next<D: Disk>(
        &self,
        journal: &mut Journal<D>,
        spare: &mut Batch,
        touched: &mut Vec<(Arc<Port>, WriteSeq)>,
    ) -> Work {
        let mut queue = self.lock();
        let mut prepared = false;
        loop {
            let (is_empty, number) = (queue.batch.is_empty(), queue.number);
            if queue.closing == Some(Closing::Abandon) {
                return Work::End;
            }
            if let Some((_, errand)) = queue.errands.pop_front_if(|(after, _)| is_empty || *after < number) {
                return Work::Run(errand);
            }
            match queue.closing {
                Some(_) if !is_empty => break,
                None if !is_empty && (queue.ready || !queue.errands.is_empty()) => break,
                Some(_) | None => {}
            }
            if queue.closing.is_some() {
                return Work::End;
            }
            if !prepared {
                drop(queue);
                prepared = true;
                if let Err(error) = journal.prepare() {
                    self.fail(&error);
                    return Work::End;
                }
                queue = self.lock();
                continue;
            }
            queue.idle = true;
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle = false;
        }
        queue.ready = false;
        queue.number += 1;
        self.queued.store(0, Ordering::Relaxed);
        std::mem::swap(&mut queue.batch, spare);
        std::mem::swap(&mut queue.touched, touched);
        Work::Write { records: std::mem::take(&mut queue.records) }
    }

    fn fail(&self, error: &StorageError) {
        tracing::error!(%error, "the journal failed: the node stops");
        let (ports, errands) = {
            let mut queue = self.lock();
            queue.failed.get_or_insert_with(|| error.clone());
            self.queued.store(0, Ordering::Relaxed);
            (std::mem::take(&mut queue.ports), std::mem::take(&mut queue.errands))
        };
        drop(errands);
        for port in ports {
            // The first error is the one that counts.
            drop(port.failed.set(error.clone()));
            port.owner.bell.ring();
        }
        self.end.ask(StopReason::Failed(error.to_string()));
    }
}

/// A thread that panics must not leave the groups waiting for ever.
struct Sentinel<'a>(&'a Desk);

impl Drop for Sentinel<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (operation, place) = ("writing", "the journal".into());
            self.0.fail(&StorageError::Io { operation, place, cause: "its thread panicked".into() });
        }
    }
}

/// One group's storage: encodes in the group's turn, and leaves writing to the thread. The lane says when: at the end of a round,
/// so that all its groups share a frame.
pub(crate) struct WalStorage<R> {
    desk: Arc<Desk>,
    port: Arc<Port>,
    title: Title,
    recovered: Option<RecoveredRaw>,
    /// The batch that we wrote to last, and our place in its `touched`.
    place: Option<(u64, usize)>,
    record: std::marker::PhantomData<fn() -> R>,
}

impl<R> WalStorage<R> {
    fn queue(&mut self, seq: WriteSeq, records: usize, fill: impl FnOnce(&mut Batch, GroupId, &Title, bool)) {
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
        let is_titled = self.port.is_titled.swap(true, Ordering::AcqRel);
        fill(&mut queue.batch, self.port.group, &self.title, is_titled);
        queue.records += records;
        self.desk.queued.store(queue.batch.len(), Ordering::Relaxed);
        let number = queue.number;
        match self.place.filter(|(batch, _)| *batch == number).and_then(|(_, at)| queue.touched.get_mut(at)) {
            Some((_, last)) => *last = seq,
            None => {
                self.place = Some((number, queue.touched.len()));
                queue.touched.push((Arc::clone(&self.port), seq));
            }
        }
    }
}

impl<R: Serialize + DeserializeOwned> Storage<R> for WalStorage<R> {
    fn recover(&mut self) -> Result<Recovered<R>, StorageError> {
        let mut recovered = self.recovered.take().unwrap_or_default();
        if !recovered.records.is_empty() {
            // The title; it was read before the group was started.
            recovered.records.remove(0);
        }
        recovered.decode()
    }

    fn append(&mut self, seq: WriteSeq, record: R) {
        self.queue(seq, 1, |batch, group, title, is_titled| {
            if !is_titled {
                batch.append(group, title);
            }
            batch.append(group, &record);
        });
    }

    fn checkpoint(&mut self, seq: WriteSeq, through: Slot, snapshot: Bytes, tail: Vec<R>) {
        self.queue(seq, 1 + tail.len(), |batch, group, title, _| {
            let lines: Vec<_> =
                std::iter::once(Line::Title(title)).chain(tail.iter().map(Line::Record)).collect();
            batch.checkpoint(group, through, &snapshot, &lines);
        });
    }

    fn durable(&mut self) -> Result<WriteSeq, StorageError> {
        match self.port.failed.get() {
            Some(error) => Err(error.clone()),
            None => Ok(WriteSeq(self.port.durable.load(Ordering::Acquire))),
        }
    }
}
