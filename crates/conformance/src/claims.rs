//! From declared guarantees to what is checked.

use consensus_core::{Faults, Guarantees, Membership, Problem, Reads, Termination, Timing};
use consensus_sim::{ByzantinePlan, MILLION, Plan, Property, Still, Stream};

/// Of so many seeds one runs a second time and stops its clocks in calm, another after its storm.
const STILL_EVERY: u64 = 32;
/// See [`STILL_EVERY`].
const STILL_IN_CALM: u64 = 8;
/// See [`STILL_EVERY`].
const STILL_AFTER_STORM: u64 = 24;

/// What the suite makes of an algorithm's guarantees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// What must hold in every run.
    pub properties: Vec<Property>,
    /// Claims that the suite does not exercise (yet): said, so that nobody takes silence for a pass.
    pub unchecked: Vec<&'static str>,
    restarts: bool,
    survives_losses: bool,
    synchronous: bool,
    guarantees: Guarantees,
    changes_members: bool,
}

/// A claim that the suite cannot put to the test at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported(pub &'static str);

impl std::fmt::Display for Unsupported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the suite cannot check this yet: {}", self.0)
    }
}

impl std::error::Error for Unsupported {}

/// Reads the claims.
///
/// # Errors
/// The suite has no checks for this kind of problem, fault or timing.
pub fn claims_of(guarantees: Guarantees) -> Result<Claims, Unsupported> {
    // No `..` here: a claim that is added to the guarantees must be dealt with before this compiles.
    let Guarantees { problem, faults, resilience: _, timing, termination, reads, membership } = guarantees;
    match problem {
        Problem::Log | Problem::OneShot | Problem::AtomicCommit | Problem::Convergence => {}
    }
    let restarts = match faults {
        Faults::Crash => false,
        // A correct node of a Byzantine protocol may lose power too, and comes back with what it had made durable.
        Faults::CrashRecovery | Faults::Byzantine => true,
    };
    let synchronous = match timing {
        Timing::Asynchronous | Timing::PartialSynchrony => false,
        Timing::Synchronous => true,
    };
    // How many nodes may be lost for good is for the world to read off the resilience.
    let survives_losses = match termination {
        Termination::AfterStabilisation
        | Termination::WithProbabilityOne
        | Termination::RoundBound
        | Termination::Always => true,
        Termination::Blocking => false,
    };
    let mut unchecked = Vec::new();
    match (problem, reads) {
        // Of a log: linearizability, or what local reads promise. Of convergence: the latter.
        (Problem::Log, Reads::Barrier | Reads::ThroughLog | Reads::Local)
        | (Problem::Convergence, Reads::Local)
        // A decision is all there is to read, and the data of transactions is looked at from outside.
        | (Problem::OneShot | Problem::AtomicCommit, Reads::Local) => {}
        (Problem::OneShot | Problem::AtomicCommit | Problem::Convergence, Reads::Barrier | Reads::ThroughLog) => {
            unchecked.push("linearizable reads: clients read in order only of a log");
        }
    }
    match membership {
        Membership::Static | Membership::Joint | Membership::StopSign => {}
        Membership::OneAtATime => {
            unchecked.push("changes of the members: all runs keep the members they began with");
        }
    }
    let mut properties = Property::of(problem, reads);
    // Rounds that are as long as they must be are timers, in any weather.
    properties.retain(|&property| property != Property::NoTimer || !synchronous);
    Ok(Claims {
        properties,
        unchecked,
        restarts,
        survives_losses,
        synchronous,
        guarantees,
        changes_members: matches!(
            (problem, membership),
            (Problem::Log, Membership::Joint | Membership::StopSign)
        ),
    })
}

impl Claims {
    /// Puts into a plan what only these claims allow: Byzantine nodes, and groups large enough to have them.
    pub fn invite(&self, seed: u64, plan: &mut Plan) {
        if self.guarantees.faults != Faults::Byzantine {
            return;
        }
        // From a stream of its own: what a seed means for other claims stays what it means.
        let draw = &mut Stream::derive(seed, "byzantine nodes");
        plan.nodes = *draw.pick(&[4, 4, 4, 4, 7, 7, 7, 5, 6, 1]).unwrap_or(&4);
        let tolerated = self.guarantees.tolerated(plan.nodes);
        plan.byzantine = Some(ByzantinePlan::draw(seed, plan.nodes, tolerated));
    }

    /// When the clocks of this seed's second run stop, if it has one: mostly without a storm, which costs less.
    pub(crate) fn still(&self, seed: u64) -> Option<Still> {
        let still = match seed % STILL_EVERY {
            STILL_IN_CALM => Still::InCalm,
            STILL_AFTER_STORM => Still::AfterStorm,
            _ => return None,
        };
        self.properties.contains(&Property::NoTimer).then_some(self.possible(still))
    }

    /// One decision is all there is: after a storm nothing is left to ask.
    fn possible(&self, still: Still) -> Still {
        if self.guarantees.problem == Problem::OneShot { Still::InCalm } else { still }
    }

    /// Takes out of a plan what goes beyond the claims.
    pub fn restrain(&self, plan: &mut Plan) {
        if let Some(still) = plan.still.take()
            && !self.synchronous
        {
            plan.keep_still(self.possible(still));
        }
        if self.synchronous {
            plan.make_synchronous();
        }
        if !self.restarts {
            // Crashes stay: they are for good.
            plan.power_losses = None;
            plan.final_power_loss = false;
            plan.hardships.failed_syncs = None;
            plan.hardships.full_disks = None;
            plan.hardships.rot = None;
        }
        if !self.changes_members {
            plan.changes = None;
        }
        if !self.survives_losses {
            plan.lost_for_good = 0;
            plan.deaths = None;
            plan.left_out.clear();
            plan.hardships.rot = None;
            // One faulty node may block the others; it never makes them disagree.
            if let Some(byzantine) = &mut plan.byzantine {
                byzantine.may_halt |= !byzantine.traitors.is_empty();
            }
        }
        if self.guarantees.faults == Faults::Byzantine {
            // A command that is asked of every node is proposed more than once: only a session makes it one.
            plan.workload.session_ppm = MILLION;
        }
        let tolerated = self.guarantees.tolerated(plan.hosts());
        plan.lost_for_good = plan.lost_for_good.min(tolerated);
        plan.left_out.truncate(tolerated - plan.lost_for_good);
    }
}
