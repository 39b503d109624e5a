//! Plans that people write: read from files, checked, and held against what an algorithm claims.

use crate::claims::{Claims, Unsupported, claims_of};
use crate::recipe::Recipe;
use crate::suite::{Tune, Tuning, draw};
use consensus_core::ConsensusAlgorithm;
use consensus_sim::{Format, Plan, PlanError, Stream};
use serde_json::Value;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A file that is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanFileError {
    /// It cannot be read.
    #[error("cannot read the plan {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Its name does not say what it is.
    #[error("the name of the plan {} must end in .toml or .json", path.display())]
    Ending {
        /// The file.
        path: PathBuf,
    },
    /// What it says is no plan.
    #[error("{}: {error}", path.display())]
    Plan {
        /// The file.
        path: PathBuf,
        /// The field, and what is wrong with it.
        error: PlanError,
    },
}

/// Reads and checks a plan; the ending of the name tells its format.
///
/// # Errors
/// Names the file and the field.
pub fn load(path: &Path) -> Result<Plan, PlanFileError> {
    let ending = path.extension().and_then(|ending| ending.to_str());
    let Some(format) = ending.and_then(Format::named) else {
        return Err(PlanFileError::Ending { path: path.into() });
    };
    let text = fs::read_to_string(path).map_err(|error| PlanFileError::Read { path: path.into(), error })?;
    Plan::parse(&text, format).map_err(|error| PlanFileError::Plan { path: path.into(), error })
}

/// A tuning that puts `plan`, if there is one, in place of whatever is drawn.
pub fn with_plan<C>(
    plan: Option<Plan>,
    tune: impl Fn(&mut Stream, &mut Plan) -> Tuning<C> + Sync,
) -> impl Fn(&mut Stream, &mut Plan) -> Tuning<C> + Sync {
    move |choices, drawn| {
        if let Some(plan) = &plan {
            drawn.clone_from(plan);
        }
        tune(choices, drawn)
    }
}

/// The plan that a run follows: tuned, and without what goes beyond the algorithm's claims.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn plan_of<A: ConsensusAlgorithm>(
    recipe: &Recipe,
    tune: Tune<'_, A::Config>,
) -> Result<Plan, Unsupported> {
    Ok(draw::<A>(recipe, &claims_of(A::GUARANTEES)?, tune).0)
}

/// The fields of a plan that go beyond what `A` claims, and that its runs therefore leave out or bend.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn beyond_claims<A: ConsensusAlgorithm>(plan: &Plan) -> Result<Vec<String>, Unsupported> {
    Ok(claims_of(A::GUARANTEES)?.strikes(plan))
}

impl Claims {
    fn strikes(&self, plan: &Plan) -> Vec<String> {
        let mut bent = plan.clone();
        self.restrain(&mut bent);
        let mut fields = Vec::new();
        if let (Ok(plan), Ok(bent)) = (serde_json::to_value(plan), serde_json::to_value(&bent)) {
            differences("", &plan, &bent, &mut fields);
        }
        fields
    }
}

fn differences(field: &str, left: &Value, right: &Value, fields: &mut Vec<String>) {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let more = right.keys().filter(|key| !left.contains_key(*key));
            for key in left.keys().chain(more) {
                let inner = if field.is_empty() { key.clone() } else { format!("{field}.{key}") };
                let value =
                    |side: &serde_json::Map<String, Value>| side.get(key).cloned().unwrap_or_default();
                differences(&inner, &value(left), &value(right), fields);
            }
        }
        (left, right) if left != right => fields.push(field.into()),
        (_, _) => {}
    }
}
