//! The whole of a run: its seed, what of its plan is set otherwise, and which of its faults are carried out. With the algorithm
//! and the code it gives the same run, byte for byte.
//!
//! As one word, for a variable or a file: seed, mask and settings, parted by slashes: `7/crash:0,3-5;loss:/nodes=3`. What is
//! empty at the end is left out.

use consensus_sim::{Mask, MaskError, Overrides, OverridesError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// Everything random comes from here.
    pub seed: u64,
    /// Which of the faults that the seed draws are carried out.
    pub mask: Mask,
    /// What of the plan that the seed draws is set otherwise.
    pub overrides: Overrides,
}

impl From<u64> for Recipe {
    /// All that the seed draws.
    fn from(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }
}

impl Recipe {
    /// The command that does this run again. `replay` is such a command up to the seed's number, and the recipe's flags follow;
    /// or it has `{}` in it, in place of which the recipe comes as one word.
    #[must_use]
    pub fn command(&self, replay: &str) -> String {
        if replay.contains("{}") {
            return replay.replace("{}", &self.to_string());
        }
        let mut command = format!("{replay} {}", self.seed);
        for (flag, value) in [("--only", self.mask.to_string()), ("--set", self.overrides.to_string())] {
            if !value.is_empty() {
                command.push_str(&format!(" {flag} '{value}'"));
            }
        }
        command
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = format!("{}/{}/{}", self.seed, self.mask, self.overrides);
        f.pad(word.trim_end_matches('/'))
    }
}

/// A text that is no recipe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// It does not begin with a number.
    #[error("{0:?} is no seed; a recipe is seed/mask/settings, as in 7/crash:0,3-5;loss:/nodes=3")]
    BadSeed(String),
    /// The mask.
    #[error(transparent)]
    Mask(#[from] MaskError),
    /// The settings.
    #[error(transparent)]
    Overrides(#[from] OverridesError),
}

impl FromStr for Recipe {
    type Err = RecipeError;

    fn from_str(text: &str) -> Result<Self, RecipeError> {
        let mut parts = text.splitn(3, '/');
        let seed = parts.next().unwrap_or_default().trim();
        let seed = seed.parse().map_err(|_| RecipeError::BadSeed(seed.into()))?;
        let mask = parts.next().unwrap_or_default().parse()?;
        let overrides = parts.next().unwrap_or_default().parse()?;
        Ok(Self { seed, mask, overrides })
    }
}
