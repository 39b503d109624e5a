//! From records to state, and back.

use crate::config::Config;
use crate::configuration::{Configuration, stop_sign};
use crate::log::{CHOSEN, Log};
use crate::message::{Message, fit};
use crate::mutant::Mutant;
use crate::record::Record;
use crate::snapshot::Snapshot;
use crate::state::Core;
use crate::synod::{Answer, Promised};
use alloc::boxed::Box;
use alloc::vec::Vec;
use consensus_core::{Bytes, Slot, WriteSeq};

/// The durable part of the state.
#[derive(Clone, Debug)]
pub(crate) struct Replayed {
    pub(crate) promised: Promised,
    pub(crate) log: Log,
    pub(crate) chosen: Slot,
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) configuration: Configuration,
    /// Those before it that the log still tells of.
    pub(crate) past: Vec<Configuration>,
    /// A bug is planted.
    is_forgetful: bool,
}

impl Replayed {
    fn empty(birth: Configuration) -> Self {
        Self {
            promised: Promised::default(),
            log: Log::new(Slot::ZERO),
            chosen: Slot::ZERO,
            snapshot: None,
            configuration: birth,
            past: Vec::new(),
            is_forgetful: false,
        }
    }

    /// Everything up to `slot` is known to be chosen, and is held.
    fn learn_through(&mut self, slot: Slot) -> Result<(), &'static str> {
        while self.chosen < slot {
            let held = self.log.batch_at(self.chosen.next());
            let last = held.ok_or("the records have a gap: part of the log is lost")?.last();
            self.learn(last.min(slot));
        }
        Ok(())
    }

    /// What was learnt counts as far as there is no hole.
    fn learn_from_others(&mut self) {
        while let Some(batch) = self.log.batch_at(self.chosen.next()).filter(|batch| batch.ballot == CHOSEN) {
            let last = batch.last();
            self.learn(last);
        }
    }

    /// Everything up to `last`, which lies in one batch, is known to be chosen.
    fn learn(&mut self, last: Slot) {
        let stop = stop_sign(&self.log, self.configuration.number, self.chosen.next(), last);
        let Some((slot, next)) = stop.map(|(slot, next)| (slot, next.clone())) else {
            self.chosen = last;
            return;
        };
        self.chosen = slot;
        self.log.forget_votes_after(slot);
        self.past.push(core::mem::replace(&mut self.configuration, next));
    }

    fn take(&mut self, record: Record, snapshot: &mut Option<(Slot, Bytes)>) -> Result<(), &'static str> {
        match record {
            Record::Configuration { through, configuration, base } => {
                if let Some((slot, bytes)) = snapshot.take_if(|(slot, _)| *slot == through) {
                    let configuration = (*configuration).clone();
                    self.snapshot = Some(Snapshot { through: slot, configuration, bytes, asked: None });
                } else if through > Slot::ZERO {
                    return Err("the records speak of a snapshot that is not there");
                }
                if base > through {
                    return Err("there is a hole between the snapshot and the log");
                }
                let is_known = configuration.is_known();
                if configuration.since > through.next() || (is_known && !configuration.is_sound()) {
                    return Err("the records hold a configuration that nobody can be in");
                }
                (self.log, self.chosen, self.configuration) = (Log::new(base), base, *configuration);
            }
            Record::Promised(ballot) => {
                if self.promised.raise(ballot) != Answer::Fresh {
                    return Err("the records hold promises that fall");
                }
            }
            Record::Accepted { ballot, first, values, chosen } => {
                if matches!(self.promised.raise(ballot), Answer::Refused(_)) {
                    return Err("the records hold a vote against a promise");
                }
                self.learn_through(chosen)?;
                self.keep(ballot, first, values)?;
            }
            Record::Learnt { first, values } => {
                if !self.is_forgetful {
                    self.learn_through(Slot(first.0.saturating_sub(1)))?;
                }
                self.keep(CHOSEN, first, values)?;
                self.learn_from_others();
            }
        }
        Ok(())
    }

    fn keep(
        &mut self,
        ballot: crate::ballot::Ballot,
        first: Slot,
        values: crate::value::Values,
    ) -> Result<(), &'static str> {
        if values.is_empty() || first <= self.chosen {
            return Err("the records hold votes for what was known to be chosen");
        }
        if !fit(&[first.0]) || Message::check_stops(&values, first).is_err() {
            return Err("the records hold votes for slots or configurations that cannot be");
        }
        self.log.accept(ballot, first, values, WriteSeq::ZERO);
        Ok(())
    }
}

/// Reads the records in order. What does not fit together is refused: an acceptor that silently forgot what it once accepted
/// would be worse than one that does nothing. [P30]
pub(crate) fn replay(
    config: &Config,
    birth: Configuration,
    snapshot: Option<(Slot, Bytes)>,
    records: Vec<Record>,
) -> Result<Replayed, &'static str> {
    let mut state = Replayed::empty(birth);
    state.is_forgetful = config.plants(Mutant::LearntProvesNothingBefore);
    let mut snapshot = snapshot;
    for record in records {
        state.take(record, &mut snapshot)?;
    }
    if snapshot.is_some() {
        return Err("there is a snapshot that the records do not know");
    }
    if state.snapshot.as_ref().is_some_and(|snapshot| state.chosen < snapshot.through) {
        return Err("the log does not reach the end of its snapshot");
    }
    state.log.settle();
    Ok(state)
}

impl Core {
    /// The records that bring this state back, beside the snapshot. [P30]
    pub(crate) fn records(&self) -> Vec<Record> {
        let through = self.snapshot.as_ref().map_or(Slot::ZERO, |snapshot| snapshot.through);
        let configuration = self.snapshot.as_ref().map_or(&self.configuration, |s| &s.configuration);
        let head = Record::Configuration {
            through,
            configuration: Box::new(configuration.clone()),
            base: self.log.base(),
        };
        records(head, &self.log, self.learner.chosen, self.promised)
    }

    /// The configuration at birth is written down once: what the node is configured with later must not change it.
    pub(crate) fn persist_birth(&self, out: &mut crate::step::Out) {
        let configuration = Box::new(self.configuration.clone());
        out.persist(Record::Configuration { through: Slot::ZERO, configuration, base: Slot::ZERO });
    }
}

fn records(head: Record, log: &Log, chosen: Slot, promised: Promised) -> Vec<Record> {
    let learnt = log.batches().filter_map(|batch| batch.within(Slot(1), chosen));
    let learnt = learnt.map(|batch| Record::Learnt { first: batch.first, values: batch.values });
    let mut open: Vec<_> = log.from(chosen.next()).collect();
    // Votes are cast in rising ballots.
    open.sort_by_key(|batch| batch.ballot);
    let open = open.into_iter().map(|batch| {
        if batch.ballot == CHOSEN {
            return Record::Learnt { first: batch.first, values: batch.values };
        }
        let (ballot, first, values) = (batch.ballot, batch.first, batch.values);
        Record::Accepted { ballot, first, values, chosen: Slot::ZERO }
    });
    let all: Vec<_> = [head].into_iter().chain(learnt).chain(open).collect();
    let voted = all.iter().filter_map(|record| match record {
        Record::Accepted { ballot, .. } => Some(*ballot),
        Record::Promised(_) | Record::Learnt { .. } | Record::Configuration { .. } => None,
    });
    let is_told = voted.max() == Some(promised.ballot()) || promised == Promised::default();
    let promise = (!is_told).then_some(Record::Promised(promised.ballot()));
    all.into_iter().chain(promise).collect()
}
