//! Lanes: each is one task that turns to those of its groups that have mail or whose alarm has come, one burst each, and then
//! hands over at once what all of them wrote and sent.
//!
//! A group is no task of its own: one that has nothing to do costs its memory, and wakes nobody. What is ready together shares a
//! wake-up, a write to each peer and a hand-over to the journal.
//!
//! Invariants:
//! - A ring is never lost: whoever has something for a group puts it down first and rings then, and the bell is silenced before
//!   the group looks.
//! - In one round every ready group has one turn of bounded length: no group waits for more than one turn of each other.
//! - A group that panics ends alone.

use crate::clock::Clock;
use crate::metrics::{HostMetrics, add};
use crate::shared::StopReason;
use consensus_core::Time;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// The most events that a group handles in one turn, and all groups together between two hand-overs.
pub(crate) const BURST: usize = 4096;

/// While so much waits for the disk that nothing may be added, this is how often it is looked at again.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// A group, as its lane sees it.
pub(crate) trait Resident: Send {
    /// Handles what has come, up to [`BURST`] events, and whatever is due; only what is due, if `takes_mail` is false.
    fn turn(&mut self, takes_mail: bool) -> Turn;
}

/// Where the groups of a lane write and send.
pub(crate) trait Shore: Send {
    /// Hands over what they wrote and sent.
    fn hand_over(&mut self);
    /// Whether so much waits for the disk that they should not add to it.
    fn is_full(&self) -> bool;
}

/// What came of a turn.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// When the group wants the next one, if nothing happens before.
    pub(crate) alarm: Option<Time>,
    /// There was more than one turn takes.
    pub(crate) has_more: bool,
    /// Clients wait for answers, and more may come at any moment.
    pub(crate) is_busy: bool,
    /// How many events were handled.
    pub(crate) events: usize,
    /// It was the last one.
    pub(crate) over: Option<StopReason>,
}

/// What is to happen after a group's last turn, when it is gone.
pub(crate) type Ending = Box<dyn FnOnce(StopReason) + Send>;

/// A group on its way into a lane.
struct Arrival {
    seat: usize,
    resident: Box<dyn Resident>,
    ending: Ending,
}

/// Where a lane and the rest of the process meet.
#[derive(Default)]
pub(crate) struct Board {
    notes: Mutex<Notes>,
    wake: Notify,
}

#[derive(Default)]
struct Notes {
    /// Seats whose bell was rung.
    rung: Vec<usize>,
    arrivals: Vec<Arrival>,
    free: Vec<usize>,
    seats: usize,
    closed: bool,
}

/// Calls a lane's attention to one group.
pub(crate) struct Bell {
    board: Arc<Board>,
    seat: usize,
    is_rung: AtomicBool,
}

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bell").field("seat", &self.seat).finish_non_exhaustive()
    }
}

impl Board {
    /// A seat for a group that is being made, with its bell.
    pub(crate) fn reserve(self: &Arc<Self>) -> Bell {
        let mut notes = self.lock();
        let seat = notes.free.pop().unwrap_or_else(|| {
            notes.seats += 1;
            notes.seats - 1
        });
        Bell { board: Arc::clone(self), seat, is_rung: AtomicBool::new(false) }
    }

    /// How many seats are taken.
    pub(crate) fn taken(&self) -> usize {
        let notes = self.lock();
        notes.seats - notes.free.len()
    }

    /// The lane ends. What it still holds is dropped.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        // Nothing in a critical section can panic half-way through a change that matters.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bell {
    /// The group has mail, or its storage has news.
    pub(crate) fn ring(&self) {
        if !self.is_rung.swap(true, Ordering::AcqRel) {
            self.board.lock().rung.push(self.seat);
            self.board.wake.notify_one();
        }
    }

    /// What comes from now on rings again. True if it was rung.
    pub(crate) fn silence(&self) -> bool {
        self.is_rung.swap(false, Ordering::AcqRel)
    }

    /// The group moves in, and has its first turn, even if its bell was rung before it was there.
    pub(crate) fn move_in(&self, resident: Box<dyn Resident>, ending: Ending) {
        let mut notes = self.board.lock();
        notes.arrivals.push(Arrival { seat: self.seat, resident, ending });
        notes.rung.push(self.seat);
        self.board.wake.notify_one();
    }

    /// The group was not made after all: its seat is free again.
    pub(crate) fn give_up(&self) {
        self.board.lock().free.push(self.seat);
    }
}

/// One lane.
pub(crate) struct Lane {
    board: Arc<Board>,
    clock: Clock,
    /// Alarms are rung at multiples of this, so that those of many groups ring together.
    grain: Duration,
    shore: Box<dyn Shore>,
    metrics: Arc<HostMetrics>,
    seats: Vec<Option<Seat>>,
    /// One entry for each seat that has set its alarm.
    alarms: BTreeSet<(Time, usize)>,
    busy: usize,
    /// Reused between rounds.
    round: Vec<usize>,
}

struct Seat {
    resident: Box<dyn Resident>,
    ending: Ending,
    alarm: Option<Time>,
    is_busy: bool,
}

impl Lane {
    pub(crate) fn new(
        board: Arc<Board>,
        clock: Clock,
        grain: Duration,
        shore: impl Shore + 'static,
        metrics: Arc<HostMetrics>,
    ) -> Self {
        Self {
            board,
            clock,
            grain,
            shore: Box::new(shore),
            metrics,
            seats: Vec::new(),
            alarms: BTreeSet::new(),
            busy: 0,
            round: Vec::new(),
        }
    }

    /// Runs until the board is closed.
    pub(crate) async fn run(mut self) {
        let board = Arc::clone(&self.board);
        let mut alarm_at = self.clock.now();
        let alarm = tokio::time::sleep_until(self.clock.instant(alarm_at));
        tokio::pin!(alarm);
        let mut has_more = false;
        loop {
            // Most alarms move on before they ring: one that rings too early costs less than one that is set anew with every
            // heartbeat.
            let wanted = self.next_alarm().unwrap_or(Time::MAX);
            if wanted < alarm_at || alarm.is_elapsed() {
                alarm_at = wanted;
                alarm.as_mut().reset(self.clock.instant(alarm_at));
            }
            if !has_more {
                tokio::select! {
                    biased;
                    () = board.wake.notified() => {}
                    () = &mut alarm => {}
                }
            }
            if has_more && self.shore.is_full() {
                tokio::time::sleep(FULL_PAUSE).await;
            } else if has_more || self.busy > 0 {
                // Clients and readers that are ready now get a say first: larger bursts, fewer syncs and system calls.
                tokio::task::yield_now().await;
            }
            match self.round() {
                Some(more) => has_more = more,
                None => return,
            }
        }
    }

    fn next_alarm(&self) -> Option<Time> {
        self.alarms.first().map(|&(at, _)| round_up(at, self.grain))
    }

    /// One turn for every group that is ready. Whether some have more to do; `None` when it is time to end.
    fn round(&mut self) -> Option<bool> {
        let mut round = std::mem::take(&mut self.round);
        {
            let mut notes = self.board.lock();
            if notes.closed {
                return None;
            }
            std::mem::swap(&mut notes.rung, &mut round);
            for Arrival { seat, resident, ending } in notes.arrivals.drain(..) {
                if self.seats.len() <= seat {
                    self.seats.resize_with(seat + 1, || None);
                }
                if let Some(place) = self.seats.get_mut(seat) {
                    *place = Some(Seat { resident, ending, alarm: None, is_busy: false });
                }
            }
        }
        add(&self.metrics.rounds, 1);
        let mut has_more = self.turns(&mut round);
        let now = self.clock.now();
        round.extend(self.alarms.iter().take_while(|(at, _)| *at <= now).map(|&(_, seat)| seat));
        has_more |= self.turns(&mut round);
        self.shore.hand_over();
        self.round = round;
        Some(has_more)
    }

    /// A turn for each of these; whether some have more to do.
    fn turns(&mut self, seats: &mut Vec<usize>) -> bool {
        let (mut events, mut has_more) = (0, false);
        for seat in seats.drain(..) {
            let (count, more) = self.turn(seat);
            events += count;
            has_more |= more;
            if events >= BURST {
                // Others' disks and peers need not wait for the end of a long round.
                self.shore.hand_over();
                events = 0;
            }
        }
        has_more
    }

    /// One group's turn: how many events it handled, and whether it wants another one at once.
    fn turn(&mut self, number: usize) -> (usize, bool) {
        let Some(place) = self.seats.get_mut(number) else { return (0, false) };
        // A bell may ring before its group has moved in, and after it has left.
        let Some(seat) = place else { return (0, false) };
        let (resident, takes_mail) = (&mut seat.resident, !self.shore.is_full());
        let mut turn = catch_unwind(AssertUnwindSafe(|| resident.turn(takes_mail))).unwrap_or_else(|panic| {
            let what = panic.downcast_ref::<&str>().copied().map(str::to_owned);
            let what = what.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            let reason = StopReason::Failed(format!("a defect of the program: {what}"));
            Turn { over: Some(reason), ..Turn::default() }
        });
        turn.has_more |= !takes_mail;
        if let Some(at) = seat.alarm.filter(|at| turn.alarm != Some(*at)) {
            self.alarms.remove(&(at, number));
        }
        self.busy -= usize::from(seat.is_busy);
        if let Some(reason) = turn.over {
            if let Some(Seat { resident, ending, .. }) = place.take() {
                drop(resident);
                self.board.lock().free.push(number);
                ending(reason);
            }
            return (turn.events, false);
        }
        (seat.alarm, seat.is_busy) = (turn.alarm, turn.is_busy);
        self.busy += usize::from(seat.is_busy);
        if let Some(at) = seat.alarm {
            self.alarms.insert((at, number));
        }
        if turn.has_more {
            self.board.lock().rung.push(number);
        }
        (turn.events, turn.has_more)
    }
}

/// The first multiple of `grain` at or after `at`.
fn round_up(at: Time, grain: Duration) -> Time {
    let grain = u64::try_from(grain.as_nanos()).unwrap_or(u64::MAX).max(1);
    at.as_nanos().checked_next_multiple_of(grain).map_or(Time::MAX, Time::from_nanos)
}
