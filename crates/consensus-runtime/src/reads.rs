//! Linearizable reads under way. All reads of one burst share one barrier; a barrier that is turned down or stays unanswered
//! is asked for again under a new name, until the reads' own deadlines.

use crate::replicated::RequestError;
use crate::request::Read;
use consensus_core::{ReadId, Refusal, Time};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Reads {
    last: ReadId,
    /// To be asked for at the end of the burst.
    fresh: Vec<Waiting>,
    /// Asked for.
    open: BTreeMap<ReadId, Round>,
    /// Turned down; to be asked for again when somebody leads, or after a pause.
    parked: Vec<Waiting>,
    retry_after: Duration,
}

#[derive(Debug)]
struct Waiting {
    read: Read,
    deadline: Time,
}

#[derive(Debug)]
struct Round {
    waiting: Vec<Waiting>,
    retry_at: Time,
}

impl Reads {
    pub(crate) fn new(retry_after: Duration) -> Self {
        let (fresh, parked) = (Vec::new(), Vec::new());
        Self { last: ReadId::ZERO, fresh, open: BTreeMap::new(), parked, retry_after }
    }

    pub(crate) fn add(&mut self, read: Read, deadline: Time) {
        self.fresh.push(Waiting { read, deadline });
    }

    /// The barrier to ask for, if this burst brought reads.
    pub(crate) fn begin_round(&mut self, now: Time) -> Option<ReadId> {
        if self.fresh.is_empty() {
            return None;
        }
        self.last = self.last.next();
        let round = Round { waiting: std::mem::take(&mut self.fresh), retry_at: now + self.retry_after };
        self.open.insert(self.last, round);
        Some(self.last)
    }

    /// The barrier stands: these reads may be served.
    pub(crate) fn finish(&mut self, id: ReadId) -> impl Iterator<Item = Read> + use<> {
        let waiting = self.open.remove(&id).map(|round| round.waiting).unwrap_or_default();
        waiting.into_iter().map(|waiting| waiting.read)
    }

    /// The barrier was turned down.
    pub(crate) fn refuse(&mut self, id: ReadId, reason: &Refusal) {
        let Some(round) = self.open.remove(&id) else { return };
        if matches!(reason, Refusal::NotLeader { .. } | Refusal::Interrupted) {
            // A read changes nothing, so it may be asked for again even if nobody knows what became of it.
            self.parked.extend(round.waiting);
        } else {
            for waiting in round.waiting {
                waiting.read.fail(RequestError::Refused(reason.clone()));
            }
        }
    }

    /// The way to the leader is another one now: everything is asked for again.
    pub(crate) fn restart(&mut self) {
        while let Some((_, round)) = self.open.pop_first() {
            self.fresh.extend(round.waiting);
        }
        self.fresh.append(&mut self.parked);
    }

    /// Gives up what is too late or no longer wanted, and asks again for what stayed unanswered.
    pub(crate) fn sweep(&mut self, now: Time) {
        self.fresh.append(&mut self.parked);
        while let Some(entry) = self.open.first_entry() {
            // Rounds are in the order of their beginning, hence of their retries.
            if entry.get().retry_at > now {
                break;
            }
            self.fresh.extend(entry.remove().waiting);
        }
        let expired =
            self.fresh.extract_if(.., |waiting| waiting.deadline <= now || waiting.read.is_cancelled());
        for waiting in expired {
            waiting.read.fail(RequestError::TimedOut);
        }
        for round in self.open.values_mut() {
            for waiting in round.waiting.extract_if(.., |waiting| waiting.deadline <= now) {
                waiting.read.fail(RequestError::TimedOut);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.fresh.len() + self.open.len() + self.parked.len()
    }

    /// Whether [`Reads::sweep`] has, or may soon have, something to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.open.is_empty() && self.parked.is_empty()
    }

    pub(crate) const fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }
}
