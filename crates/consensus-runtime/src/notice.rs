//! What hosts tell each other, beside the frames of their groups.

use crate::address::PeerAddress;
use crate::book::MAX_ADDRESSES;
use crate::frame::FrameError;
use crate::registry::MAX_GROUPS;
use crate::title::MAX_NAME;
use consensus_core::wire::{self, MAX_FRAME_BYTES};
use consensus_core::{GroupId, Time};
use serde::{Deserialize, Serialize};

/// The most algorithms that a roster names.
const MAX_TEAMS: usize = 256;

/// A notice. Variants are only ever appended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Notice {
    /// "I am there, and I hear you."
    Pulse(Pulse),
    /// The groups that run at the sender, instead of all that it named before on this connection. The first notice on each.
    Roster(#[serde(deserialize_with = "wire::at_most::<MAX_TEAMS, _, _>")] Vec<Team>),
    /// One more group runs there.
    Joined { group: GroupId, algorithm: String },
    /// A group no longer runs there.
    Left { group: GroupId },
    /// Where the sender listens.
    Address(#[serde(deserialize_with = "wire::at_most::<MAX_ADDRESSES, _, _>")] Vec<PeerAddress>),
}

/// Sent at regular intervals on each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pulse {
    /// When it was sent, by the sender's clock.
    pub(crate) sent: Time,
    /// When the last pulse that the sender has received was sent, by its sender's clock; zero if there was none.
    pub(crate) echo: Time,
    /// How long ago it was received, in nanoseconds.
    pub(crate) held_ns: u64,
    /// The sender does not know whether it is heard: answer at once.
    pub(crate) is_urgent: bool,
}

/// The groups that run one algorithm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Team {
    pub(crate) algorithm: String,
    #[serde(deserialize_with = "wire::at_most::<MAX_GROUPS, _, _>")]
    pub(crate) groups: Vec<GroupId>,
}

impl Notice {
    /// Decodes and checks.
    pub(crate) fn read(body: &[u8]) -> Result<Self, FrameError> {
        let notice = wire::decode(body, MAX_FRAME_BYTES)?;
        let is_sound = match &notice {
            Self::Pulse(_) | Self::Left { .. } | Self::Address(_) => true,
            Self::Joined { algorithm, .. } => algorithm.len() <= MAX_NAME,
            Self::Roster(teams) => {
                let groups: usize = teams.iter().map(|team| team.groups.len()).sum();
                groups <= MAX_GROUPS && teams.iter().all(|team| team.algorithm.len() <= MAX_NAME)
            }
        };
        if is_sound {
            Ok(notice)
        } else {
            Err(FrameError::Notice("more groups or longer names than a host has"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_no_host_says_is_refused() {
        let long = "x".repeat(MAX_NAME + 1);
        let joined = Notice::Joined { group: GroupId(1), algorithm: long.clone() };
        let named = Notice::Roster(vec![Team { algorithm: long, groups: Vec::new() }]);
        let half = Team { algorithm: "a".into(), groups: vec![GroupId(1); MAX_GROUPS / 2 + 1] };
        let many = Notice::Roster(vec![half.clone(), half.clone()]);
        for notice in [joined, named, many] {
            assert!(Notice::read(&wire::encode(&notice)).is_err(), "{notice:?}");
        }
        let address: PeerAddress = "h:1".parse().unwrap();
        let crowd = Notice::Address(vec![address.clone(); MAX_ADDRESSES + 1]);
        assert!(Notice::read(&wire::encode(&crowd)).is_err());
        for sound in [Notice::Roster(vec![half]), Notice::Address(vec![address])] {
            assert_eq!(Notice::read(&wire::encode(&sound)), Ok(sound));
        }
    }

    proptest! {
        #[test]
        fn garbage_harms_nobody(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Notice::read(&bytes);
        }
    }
}
