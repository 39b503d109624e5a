//! How a node comes back to what it knew.

use super::batches::{Batches, Queue};
use super::ledger::Ledger;
use super::message::Instance;
use super::read::Reading;
use super::record::Record;
use super::snapshot::Snapshot;
use super::state::Log;
use crate::model::{Crashes, Model};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use consensus_core::{Boot, Bytes, RestoreError, Slot};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

impl Log {
    /// Rebuilds the state from what the disk holds. [L11]
    pub(crate) fn recover(boot: Boot<Self>) -> Result<Self, RestoreError> {
        let Boot { id, members, config, seed, now: _, snapshot, records } = boot;
        // Nodes that are given the same seed must not toss alike.
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut node = Self {
            id,
            thresholds: Crashes::thresholds(members.voter_count()),
            window: config.max_instances,
            config,
            members,
            queue: Queue::default(),
            last_number: 0,
            batches: Batches::default(),
            too_early: BTreeMap::new(),
            open: BTreeMap::new(),
            noted: BTreeSet::new(),
            ledger: Ledger::default(),
            handed_over: Slot::ZERO,
            awaited: Instance::ZERO,
            impatient: Instance::ZERO,
            peers: BTreeMap::new(),
            last_words: Vec::new(),
            answers: Vec::new(),
            more_from: None,
            reading: Reading::new(rng.next_u64()),
            snapshot: None,
            served: None,
            incoming: None,
            is_timed: false,
            rng,
        };
        node.begin_behind(snapshot, records.first())?;
        for record in records {
            node.replay(record).map_err(RestoreError)?;
        }
        node.batches.forget(&node.ledger.numbers);
        node.last_number = node.batches.last(id).max(node.ledger.numbers.last(id));
        node.settle();
        // Whoever waits for them asks.
        node.last_words.clear();
        Ok(node)
    }

    /// The snapshot is followed by where it ends.
    fn begin_behind(
        &mut self,
        snapshot: Option<(Slot, Bytes)>,
        first: Option<&Record>,
    ) -> Result<(), RestoreError> {
        let Some((through, bytes)) = snapshot else { return Ok(()) };
        let Some(Record::Base { instance, numbers }) = first else {
            return Err(RestoreError("no record says where the snapshot ends"));
        };
        self.ledger = Ledger::behind(*instance, through, numbers.clone());
        self.handed_over = through;
        let (instance, numbers) = (*instance, numbers.clone());
        self.snapshot = Some(Snapshot { instance, through, numbers, bytes, asked: None });
        Ok(())
    }

    // [L11]
    fn replay(&mut self, record: Record) -> Result<(), &'static str> {
        let settled = self.ledger.settled();
        match record {
            Record::Base { instance, numbers: _ } if instance == settled => Ok(()),
            Record::Base { .. } => Err("the records speak of a snapshot that is not there"),
            Record::Held(parcel) => {
                self.batches.insert(parcel, settled);
                Ok(())
            }
            Record::Offered { instance, .. }
            | Record::Voted { instance, .. }
            | Record::Decided { instance, .. }
                if instance <= settled =>
            {
                Err("the records hold votes of what is settled")
            }
            Record::Offered { instance, offer } => {
                let offered = self.open.entry(instance).or_default().take_offer(self.id, offer);
                offered.map_err(|_| "the records hold two offers in one instance")
            }
            Record::Voted { instance, vote, batch } => {
                let open = self.open.entry(instance).or_default();
                open.mean(batch).map_err(|_| "the records hold two batches in one instance")?;
                open.cast(self.id, vote)
            }
            Record::Decided { instance, decided } => {
                self.noted.insert(instance);
                let learnt = self.open.entry(instance).or_default().learn(decided);
                learnt.map_err(|_| "the records hold two decisions")
            }
        }
    }
}
