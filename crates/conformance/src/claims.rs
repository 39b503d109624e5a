//! From declared guarantees to what is checked.

use consensus_core::{Faults, Guarantees, Membership, Problem, Reads, Termination, Timing};
use consensus_sim::{Plan, Property};

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
        Problem::Log => {}
        Problem::OneShot => return Err(Unsupported("one-shot agreement")),
        Problem::AtomicCommit => return Err(Unsupported("atomic commitment")),
        Problem::Convergence => return Err(Unsupported("convergence")),
    }
    let restarts = match faults {
        Faults::Crash => false,
        Faults::CrashRecovery => true,
        Faults::Byzantine => return Err(Unsupported("Byzantine nodes")),
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
    match reads {
        Reads::Barrier | Reads::ThroughLog => {}
        Reads::Local => unchecked.push("local reads: clients read through the log"),
    }
    match membership {
        Membership::Static | Membership::Joint => {}
        Membership::OneAtATime | Membership::StopSign => {
            unchecked.push("changes of the members: all runs keep the members they began with");
        }
    }
    Ok(Claims {
        properties: Property::ALL.to_vec(),
        unchecked,
        restarts,
        survives_losses,
        synchronous,
        guarantees,
        changes_members: matches!(membership, Membership::Joint),
    })
}

impl Claims {
    /// Takes out of a plan what goes beyond the claims.
    pub fn restrain(&self, plan: &mut Plan) {
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
            plan.left_out.clear();
            plan.hardships.rot = None;
        }
        let tolerated = self.guarantees.tolerated(plan.hosts());
        plan.lost_for_good = plan.lost_for_good.min(tolerated);
        plan.left_out.truncate(tolerated - plan.lost_for_good);
    }
}
