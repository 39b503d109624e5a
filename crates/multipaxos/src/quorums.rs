//! How large quorums are.

use consensus_core::quorum::Flexible;
use consensus_core::{ConfigError, Members};
use serde::{Deserialize, Serialize};

/// Quorums that need not be majorities (Howard, Malkhi and Spiegelman 2016): those of phase 1 must intersect those of phase 2, and
/// no others. With few acceptances a commit needs few nodes, and a change of leaders many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// How many promises it takes to lead.
    pub promises: usize,
    /// How many acceptances it takes to choose.
    pub acceptances: usize,
}

/// Whether these can work for a group that begins with these members. [S10]
pub(crate) fn validate(sizes: Option<Sizes>, members: &Members) -> Result<(), ConfigError> {
    let voters = members.voter_count();
    if voters == 0 {
        return Err(ConfigError::new("members", "there is no voter; name at least one"));
    }
    if !members.witnesses().is_empty() {
        let problem = "there are no witnesses here; smaller quorums of acceptances serve that end";
        return Err(ConfigError::new("members", problem));
    }
    if let Some(Sizes { promises, acceptances }) = sizes {
        Flexible::new(voters, promises, acceptances)?;
    }
    Ok(())
}

/// Quorums for a group of so many voters. Sizes that do not fit keep the acceptances, as far as there are voters, and as many
/// promises as it then takes.
pub(crate) fn quorums(sizes: Option<Sizes>, voters: usize) -> Flexible {
    let majorities = Flexible::majorities(voters);
    let Some(Sizes { promises, acceptances }) = sizes else { return majorities };
    let second = acceptances.clamp(1, voters.max(1));
    let fewest = voters + 1 - second.min(voters);
    let first = if promises < fewest || promises > voters { fewest } else { promises };
    Flexible::new(voters, first, second).unwrap_or(majorities)
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus_core::NodeId;

    fn group(voters: usize) -> Members {
        Members::of((1..=voters as u64).map(NodeId))
    }

    // tests [S10]
    #[test]
    fn quorums_that_miss_each_other_are_refused() {
        for n in 1..=9 {
            for (promises, acceptances) in (0..=n + 1).flat_map(|a| (0..=n + 1).map(move |b| (a, b))) {
                let sizes = Some(Sizes { promises, acceptances });
                let fits = promises.min(acceptances) > 0 && promises.max(acceptances) <= n;
                assert_eq!(validate(sizes, &group(n)).is_ok(), fits && promises + acceptances > n);
            }
            assert!(validate(None, &group(n)).is_ok());
        }
        assert!(validate(None, &group(0)).is_err());
        assert!(validate(None, &group(3).with_witnesses([NodeId(3)])).is_err());
    }

    // tests [S10]
    #[test]
    fn sizes_fit_themselves_to_other_groups_and_always_intersect() {
        for (promises, acceptances) in [(4, 2), (2, 4), (3, 3), (5, 5)] {
            for n in 1..=9 {
                let made = quorums(Some(Sizes { promises, acceptances }), n);
                assert_eq!(made.second(), acceptances.min(n));
                assert!(made.first() + made.second() > n && made.first() <= n);
                if promises + acceptances > n && promises <= n {
                    assert_eq!(made.first(), promises);
                }
            }
        }
        assert_eq!(quorums(None, 5), Flexible::majorities(5));
    }
}
