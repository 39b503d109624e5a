//! Takes from a failing run what it can do without: what is left is the story to read.
//!
//! First whole classes of faults, then nodes, clients, operations and whatever else makes a run large, then the time after the
//! failure, then single faults by delta debugging (Zeller and Hildebrandt 2002, *Simplifying and isolating failure-inducing
//! input*, the ddmin algorithm). A candidate counts only if the same property fails. A run is chaotic: one fault less and all that
//! follows differs. That harms nothing, since each candidate is a run of its own that fails or does not; it only means that what
//! comes out is small, and not the smallest.
//!
//! Invariant: the recipe that is kept was run, and the property failed. The number of runs is bounded, and no clock is asked, so
//! that shrinking twice gives the same.

use crate::recipe::Recipe;
use consensus_sim::{FaultClass, FaultCounts, Mask, Plan, Property, Report, Setting};

/// How many runs shrinking takes at most, unless somebody says otherwise.
pub const MAX_RUNS: u64 = 500;

/// A failing run, made small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// The small run.
    pub recipe: Recipe,
    /// What fails in it, as in the run that it was made from.
    pub property: Property,
    /// What is said of the failure there.
    pub detail: String,
    /// How many faults were carried out before.
    pub faults_before: u64,
    /// How many faults are carried out in the small run.
    pub faults: u64,
    /// How many runs it took.
    pub runs: u64,
}

/// Shrinks a run that fails. `plan` is what was drawn for it, `run` does a run; at most `most` runs are done. `None` if the run
/// does not fail at all.
pub fn shrink(recipe: &Recipe, plan: &Plan, most: u64, run: impl FnMut(&Recipe) -> Report) -> Option<Shrunk> {
    let mut shrinker = Shrinker::of(recipe, most, run)?;
    let before = shrinker.faults.carried_out();
    shrinker.drop_classes();
    shrinker.make_small(plan);
    shrinker.cut_time(plan);
    shrinker.drop_faults();
    Some(Shrunk {
        recipe: shrinker.best,
        property: shrinker.property,
        detail: shrinker.detail,
        faults_before: before,
        faults: shrinker.faults.carried_out(),
        runs: shrinker.runs,
    })
}

struct Shrinker<R> {
    run: R,
    property: Property,
    runs: u64,
    most: u64,
    /// The smallest run so far that fails, and what is known of it.
    best: Recipe,
    detail: String,
    faults: FaultCounts,
    operations: u64,
    /// When it failed, in microseconds, rounded up.
    failed_at_us: u64,
}

impl<R: FnMut(&Recipe) -> Report> Shrinker<R> {
    fn of(recipe: &Recipe, most: u64, mut run: R) -> Option<Self> {
        let report = run(recipe);
        let property = report.failure.as_ref()?.property;
        let mut shrinker = Self {
            run,
            property,
            runs: 1,
            most,
            best: recipe.clone(),
            detail: String::new(),
            faults: FaultCounts::default(),
            operations: 0,
            failed_at_us: 0,
        };
        shrinker.keep(recipe.clone(), &report);
        Some(shrinker)
    }

    fn keep(&mut self, recipe: Recipe, report: &Report) {
        self.best = recipe;
        self.faults = report.faults;
        self.operations = report.counts.operations;
        if let Some(failure) = &report.failure {
            self.detail.clone_from(&failure.detail);
            self.failed_at_us = failure.at.as_nanos() / 1_000 + 1;
        }
    }

    /// Keeps the candidate if it fails as the first run did. With no runs left it is not tried.
    fn try_out(&mut self, candidate: Recipe) -> bool {
        if self.runs >= self.most || candidate == self.best {
            return false;
        }
        self.runs += 1;
        let report = (self.run)(&candidate);
        let fails = report.failure.as_ref().is_some_and(|failure| failure.property == self.property);
        if fails {
            self.keep(candidate, &report);
        }
        fails
    }

    fn try_mask(&mut self, mask: Mask) -> bool {
        self.try_out(Recipe { mask, ..self.best.clone() })
    }

    fn try_setting(&mut self, setting: Setting, value: u64) -> bool {
        let overrides = self.best.overrides.clone().with(setting, value);
        self.try_out(Recipe { overrides, ..self.best.clone() })
    }

    /// The most frequent classes first: they fill the picture most.
    fn drop_classes(&mut self) {
        let mut classes: Vec<(u64, FaultClass)> =
            self.faults.iter().map(|(class, tally)| (tally.carried_out, class)).collect();
        classes.sort_unstable_by(|one, other| other.cmp(one));
        let none = classes.iter().fold(self.best.mask.clone(), |mask, (_, class)| mask.without(*class));
        if self.try_mask(none) {
            return;
        }
        for (_, class) in classes {
            if self.faults.of(class).carried_out > 0 {
                self.try_mask(self.best.mask.clone().without(class));
            }
        }
    }

    fn make_small(&mut self, plan: &Plan) {
        let mut plan = plan.clone();
        self.best.overrides.apply(&mut plan);
        for setting in [Setting::Nodes, Setting::Clients] {
            let drawn = setting.of(&plan).unwrap_or_default();
            (1..drawn).any(|value| self.try_setting(setting, value));
        }
        let mut operations = 0;
        while operations < self.operations && !self.try_setting(Setting::Operations, operations) {
            operations = (operations * 2).max(1);
        }
        let (_, never) = Setting::CompactAfterBytes.bounds();
        let plainer = [
            (Setting::Keys, 1),
            (Setting::BallastBytes, 0),
            (Setting::BurstUs, 0),
            (Setting::CompactAfterBytes, never),
            (Setting::FullMesh, 1),
        ];
        for (setting, value) in plainer {
            if setting.of(&plan) != Some(value) {
                self.try_setting(setting, value);
            }
        }
    }

    /// Faults end earlier: at the failure, and if that works, in the middle of what is left, as often as that works.
    fn cut_time(&mut self, plan: &Plan) {
        let drawn = Setting::FaultsForUs.of(plan).unwrap_or(u64::MAX);
        let mut span = self.best.overrides.get(Setting::FaultsForUs).unwrap_or(drawn);
        if self.failed_at_us < span {
            self.try_setting(Setting::FaultsForUs, self.failed_at_us);
            span = self.failed_at_us;
        }
        while span > 1_000 && self.try_setting(Setting::FaultsForUs, span / 2) {
            span /= 2;
        }
    }

    /// Names every fault that is left, and leaves out as many as possible.
    fn drop_faults(&mut self) {
        let named = self.faults_left();
        let mask = mask_of(&named);
        // The same run: what is not named here was never met.
        if mask != self.best.mask && !self.try_mask(mask) {
            return;
        }
        self.ddmin(named);
        let mask = self.shortest_mask();
        self.try_mask(mask);
    }

    /// A mask that gives the same run in fewer words: without the classes of which nothing was met, or nothing left out.
    fn shortest_mask(&self) -> Mask {
        let left = self.faults_left();
        self.faults.iter().fold(Mask::all(), |mask, (class, tally)| {
            let numbers: Vec<u64> =
                left.iter().filter(|(of, _)| *of == class).map(|&(_, number)| number).collect();
            if numbers.len() as u64 == tally.met { mask } else { mask.only(class, numbers) }
        })
    }

    /// Every fault that the mask lets through, as far as the run went.
    fn faults_left(&self) -> Vec<(FaultClass, u64)> {
        let of_class = |(class, tally): (FaultClass, consensus_sim::Tally)| {
            (0..tally.met)
                .map(move |number| (class, number))
                .filter(|&(class, number)| self.best.mask.allows(class, number))
        };
        self.faults.iter().flat_map(of_class).collect()
    }

    /// Splits what is left into ever smaller parts, and goes on with a part alone, or with all but a part, if that fails too.
    fn ddmin(&mut self, mut left: Vec<(FaultClass, u64)>) {
        let mut parts = 2;
        while left.len() >= 2 && self.runs < self.most {
            let size = left.len().div_ceil(parts);
            let chunks: Vec<_> = left.chunks(size).map(<[_]>::to_vec).collect();
            if let Some(part) = chunks.iter().find(|part| self.try_mask(mask_of(part))) {
                (left, parts) = (part.clone(), 2);
                continue;
            }
            // With two parts, all but one is the other, which was tried.
            let rests = (0..chunks.len()).filter(|_| chunks.len() > 2).map(|place| {
                let others = chunks.iter().enumerate().filter(|(other, _)| *other != place);
                others.flat_map(|(_, part)| part.iter().copied()).collect::<Vec<_>>()
            });
            if let Some(rest) = rests.into_iter().find(|rest| self.try_mask(mask_of(rest))) {
                (left, parts) = (rest, (chunks.len() - 1).max(2));
            } else if size == 1 {
                return;
            } else {
                parts = (parts * 2).min(left.len());
            }
        }
        if left.len() == 1 {
            self.try_mask(mask_of(&[]));
        }
    }
}

/// Lets these faults through, and no others of any class.
fn mask_of(faults: &[(FaultClass, u64)]) -> Mask {
    FaultClass::ALL.into_iter().fold(Mask::all(), |mask, class| {
        mask.only(class, faults.iter().filter(|(of, _)| *of == class).map(|&(_, number)| number))
    })
}
