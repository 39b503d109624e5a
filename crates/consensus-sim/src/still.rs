//! Runs in which the clocks of all nodes stop: whatever is then still waited for takes messages and disks, and no timer.

use crate::plan::{MAX_BYTES, MOST_SLOTS, Plan};
use crate::timing::TimingPlan;
use serde::{Deserialize, Serialize};

/// When clocks stop, for good, in a group of which every node is up, correct and heard by all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Still {
    /// There is no storm: as soon as clients are served, where they must be served over time, and otherwise at the first moment.
    InCalm,
    /// After the storm, once all that was promised has come true.
    AfterStorm,
}

impl Plan {
    /// Has the clocks stop, and takes out of the plan what would stay behind where nothing may be amiss.
    pub fn keep_still(&mut self, still: Still) {
        self.still = Some(still);
        self.timing = TimingPlan::Asynchronous;
        self.changes = None;
        self.byzantine = None;
        self.deaths = None;
        self.hardships.rot = None;
        self.lost_for_good = 0;
        self.left_out.clear();
        self.final_power_loss = false;
        self.disk.lying_syncs = false;
        // Whoever is late by a message where others keep nothing for it must be brought a snapshot, which no calm spares it.
        (self.compact_after_bytes, self.compact_after_slots) = (MAX_BYTES, MOST_SLOTS);
        self.snapshot_writing = core::time::Duration::ZERO;
    }
}
