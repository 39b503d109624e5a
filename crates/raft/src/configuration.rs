//! Which members the log names, slot by slot.
//!
//! A configuration is an entry of the log, and the newest one in the log holds, committed or not (dissertation §4.1). So it is
//! cut off with the log, and what a snapshot ends with is the configuration at its last entry, not the newest.
//!
//! Invariants: `later` is sorted by slot, all of it behind `base`; `base` is committed.

use crate::entry::{Content, Entries};
use alloc::vec::Vec;
use consensus_core::{Members, Slot};

/// Members, and the slot of the entry that named them; slot zero for those at birth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Configuration {
    pub(crate) slot: Slot,
    pub(crate) members: Members,
}

/// Every configuration that may still be needed.
#[derive(Clone, Debug)]
pub(crate) struct Configurations {
    /// The one at the end of our snapshot, or at birth.
    base: Configuration,
    /// Those of the log behind it.
    later: Vec<Configuration>,
}

impl Configurations {
    pub(crate) const fn new(slot: Slot, members: Members) -> Self {
        Self { base: Configuration { slot, members }, later: Vec::new() }
    }

    /// The one that holds. [R34]
    pub(crate) fn newest(&self) -> &Configuration {
        self.later.last().unwrap_or(&self.base)
    }

    /// The one that holds where the log ends at `slot`, which is not before the base.
    pub(crate) fn at(&self, slot: Slot) -> &Configuration {
        let later = self.later.iter().rev().find(|configuration| configuration.slot <= slot);
        later.unwrap_or(&self.base)
    }

    /// Takes in what was appended from `first` on. What the base holds already is passed over.
    pub(crate) fn learn(&mut self, first: Slot, entries: &Entries) {
        for (slot, entry) in (first.0..).map(Slot).zip(entries.iter()) {
            if let Content::Members { members, .. } = &entry.content
                && slot > self.base.slot
            {
                self.later.push(Configuration { slot, members: Members::clone(members) });
            }
        }
    }

    /// The log was cut behind `slot`. [R34]
    pub(crate) fn truncate_after(&mut self, slot: Slot) {
        self.later.retain(|configuration| configuration.slot <= slot);
    }

    /// A snapshot ends at `slot`.
    pub(crate) fn forget_before(&mut self, slot: Slot) {
        self.base = Configuration { slot, members: self.at(slot).members.clone() };
        self.later.retain(|configuration| configuration.slot > slot);
    }

    pub(crate) fn assert_invariants(&self, commit: Slot, last: Slot) {
        assert!(self.base.slot <= commit, "the base of the configurations is not committed");
        let mut before = self.base.slot;
        for configuration in &self.later {
            assert!(configuration.slot > before, "configurations are out of order");
            before = configuration.slot;
        }
        assert!(before <= last.max(self.base.slot), "a configuration outlived its entry");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Entry;
    use alloc::boxed::Box;
    use consensus_core::{Epoch, NodeId, ProposalId};
    use quickcheck::quickcheck;
    use std::vec;

    fn entry(members: Option<u8>) -> Entry {
        let content = members.map_or(Content::Noop, |count| Content::Members {
            id: ProposalId::default(),
            members: Box::new(Members::of((0..=u64::from(count)).map(|id| NodeId(id + 1))).into()),
        });
        Entry { term: Epoch(1), content }
    }

    quickcheck! {
        // tests [R34]
        fn the_newest_entry_that_names_members_holds(
            appended: Vec<Option<u8>>,
            cuts: Vec<(u8, bool)>
        ) -> bool {
            // A model: the members that hold after each slot.
            let birth = Members::of([NodeId(1)]);
            let mut model = vec![birth.clone()];
            let mut configurations = Configurations::new(Slot::ZERO, birth);
            let mut base = 0;
            for chunk in appended.chunks(3) {
                let entries: Entries = chunk.iter().copied().map(entry).collect();
                configurations.learn(Slot(model.len() as u64), &entries);
                for entry in entries.iter() {
                    let before = model.last().unwrap().clone();
                    model.push(match &entry.content {
                        Content::Members { members, .. } => Members::clone(members),
                        Content::Noop | Content::Proposal { .. } | Content::Withheld => before,
                    });
                }
            }
            for (cut, is_snapshot) in cuts {
                let slot = base + usize::from(cut) % (model.len() - base);
                if is_snapshot {
                    base = slot;
                    configurations.forget_before(Slot(slot as u64));
                } else {
                    model.truncate(slot + 1);
                    configurations.truncate_after(Slot(slot as u64));
                }
            }
            (base..model.len()).all(|slot| configurations.at(Slot(slot as u64)).members == model[slot])
                && configurations.newest().members == *model.last().unwrap()
        }
    }
}
