//! The kinds of Byzantine acts, and how often each was committed.

use crate::mask::FaultClass;

/// One kind of misbehaviour: what the trace names, what the counts count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// A twin and another did not hear each other, since this round parts them.
    Parted,
    /// A message was not sent in a silence.
    Silence,
    /// A message was not sent to this receiver.
    Withheld,
    /// A message was not sent, by chance.
    SendOmission,
    /// A message was not heard.
    ReceiveOmission,
    /// A message was sent late.
    Delay,
    /// A node came back on an older disk, or an empty one.
    Amnesia,
    /// The bytes of a frame were changed.
    Tamper,
    /// A field of a message was changed.
    Mutation,
    /// An old frame was sent again.
    Replay,
    /// Another's frame was sent as its own.
    Relay,
    /// A frame was sent under another's name.
    Forgery,
    /// A client was told something else.
    Lie,
}

impl Act {
    /// All kinds, in the order of reports.
    pub const ALL: [Self; 13] = [
        Self::Parted,
        Self::Silence,
        Self::Withheld,
        Self::SendOmission,
        Self::ReceiveOmission,
        Self::Delay,
        Self::Amnesia,
        Self::Tamper,
        Self::Mutation,
        Self::Replay,
        Self::Relay,
        Self::Forgery,
        Self::Lie,
    ];

    /// The class of faults that a mask knows it by.
    #[must_use]
    pub const fn class(self) -> FaultClass {
        match self {
            Self::Parted => FaultClass::TwinParting,
            Self::Silence => FaultClass::Silence,
            Self::Withheld => FaultClass::Withholding,
            Self::SendOmission => FaultClass::SendOmission,
            Self::ReceiveOmission => FaultClass::ReceiveOmission,
            Self::Delay => FaultClass::LateSend,
            Self::Amnesia => FaultClass::Amnesia,
            Self::Tamper => FaultClass::Tampering,
            Self::Mutation => FaultClass::Mutation,
            Self::Replay => FaultClass::Replay,
            Self::Relay => FaultClass::Relay,
            Self::Forgery => FaultClass::Forgery,
            Self::Lie => FaultClass::Lie,
        }
    }

    /// The name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parted => "messages kept from a twin",
            Self::Silence => "messages not sent in a silence",
            Self::Withheld => "messages withheld from some",
            Self::SendOmission => "send omissions",
            Self::ReceiveOmission => "receive omissions",
            Self::Delay => "messages sent late",
            Self::Amnesia => "returns on an older disk",
            Self::Tamper => "frames tampered with",
            Self::Mutation => "messages mutated by field",
            Self::Replay => "frames replayed",
            Self::Relay => "frames of others passed on",
            Self::Forgery => "frames under another's name",
            Self::Lie => "lies to clients",
        }
    }
}

/// How often what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByzantineCounts {
    acts: [u64; Act::ALL.len()],
    /// Runs with at least one Byzantine node.
    pub runs: u64,
    /// Rounds of a scenario that began.
    pub rounds: u64,
    /// Forged frames that the network refused.
    pub refused_forgeries: u64,
    /// Frames that a correct node could not decode.
    pub undecodable: u64,
    /// Accusations of a Byzantine node by a correct one.
    pub accusations: u64,
    /// Boots of a Byzantine node that ended by its own fault: a refused disk, a panic, an error.
    pub collapses: u64,
    /// Replies to clients that f + 1 nodes gave alike.
    pub matched_replies: u64,
}

impl ByzantineCounts {
    /// How often this was done.
    #[must_use]
    pub const fn of(&self, act: Act) -> u64 {
        self.acts[act as usize]
    }

    /// How many acts there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.acts.iter().sum()
    }

    pub(crate) const fn note(&mut self, act: Act) {
        self.acts[act as usize] += 1;
    }

    /// Adds another run's.
    pub const fn add(&mut self, other: &Self) {
        let mut place = 0;
        while place < self.acts.len() {
            self.acts[place] += other.acts[place];
            place += 1;
        }
        self.runs += other.runs;
        self.rounds += other.rounds;
        self.refused_forgeries += other.refused_forgeries;
        self.undecodable += other.undecodable;
        self.accusations += other.accusations;
        self.collapses += other.collapses;
        self.matched_replies += other.matched_replies;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_act_has_a_place_of_its_own() {
        let mut counts = ByzantineCounts::default();
        for (place, act) in Act::ALL.into_iter().enumerate() {
            assert_eq!(act as usize, place);
            counts.note(act);
        }
        counts.add(&counts.clone());
        assert!(Act::ALL.into_iter().all(|act| counts.of(act) == 2));
        assert_eq!(counts.total(), 26);
    }
}
