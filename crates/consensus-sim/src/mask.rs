//! Which of the faults that a seed draws are carried out: the means to take a failing run apart.
//!
//! A seed draws more faults than a failure needs. Each fault belongs to a class and has a number within its class, in the order
//! in which the run meets them; a mask leaves some out. What a fault would have drawn is drawn all the same, and each class
//! draws its times from a stream of its own, so that the others come when they came before. The whole of a run is its seed, its
//! [`crate::Overrides`] and its mask.
//!
//! As text, for command lines: classes parted by semicolons, each with the numbers that are carried out. `crash:0,3-5;loss:`
//! means: of the crashes only those four, no lost message, and everything of every other class. The empty text allows all.

use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultClass {
    /// Links are cut, for a while.
    Partition,
    /// A node loses power.
    Crash,
    /// All nodes lose power at once.
    PowerLoss,
    /// A crash takes a part of what was not synced, and finds the disk at work. Left out, it leaves exactly what was synced.
    TornCrash,
    /// The power fails again while a node recovers.
    InterruptedRecovery,
    /// An operator asks for a transfer of leadership.
    Transfer,
    /// An operator asks for other members.
    Change,
    /// A node begins to wish to lead, or not to.
    Wish,
    /// A failure detector changes its mind.
    Suspicion,
    /// Syncs of a disk fail.
    FailedSync,
    /// A disk is full.
    FullDisk,
    /// A disk is slow for a while.
    SlowDisk,
    /// A single sync is slow.
    SlowSync,
    /// A bit flips on a disk.
    Rot,
    /// A node handles nothing for a while.
    Pause,
    /// A link is down for a moment.
    Flap,
    /// A node boots with a clock that is wrong.
    Skew,
    /// A node does not come back after the faults.
    LostNode,
    /// A node is left out of the core that is mended after the faults.
    LeftOut,
    /// A link or a node is held back by the scheduler for a while.
    Starvation,
    /// A message is lost by chance.
    Loss,
    /// A message arrives twice.
    Duplicate,
    /// A message is much delayed.
    Spike,
    /// A link loses most messages for a while.
    Burst,
    /// A message is dropped since too much waits before it.
    Queue,
    /// A bit of a message flips.
    Corruption,
    /// A message between a client and a node is lost.
    ClientLoss,
}

impl FaultClass {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 27] = [
        Self::Partition,
        Self::Crash,
        Self::PowerLoss,
        Self::TornCrash,
        Self::InterruptedRecovery,
        Self::Transfer,
        Self::Change,
        Self::Wish,
        Self::Suspicion,
        Self::FailedSync,
        Self::FullDisk,
        Self::SlowDisk,
        Self::SlowSync,
        Self::Rot,
        Self::Pause,
        Self::Flap,
        Self::Skew,
        Self::LostNode,
        Self::LeftOut,
        Self::Starvation,
        Self::Loss,
        Self::Duplicate,
        Self::Spike,
        Self::Burst,
        Self::Queue,
        Self::Corruption,
        Self::ClientLoss,
    ];

    /// Its name in masks and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::Crash => "crash",
            Self::PowerLoss => "power-loss",
            Self::TornCrash => "torn-crash",
            Self::InterruptedRecovery => "interrupted-recovery",
            Self::Transfer => "transfer",
            Self::Change => "change",
            Self::Wish => "wish",
            Self::Suspicion => "suspicion",
            Self::FailedSync => "failed-sync",
            Self::FullDisk => "full-disk",
            Self::SlowDisk => "slow-disk",
            Self::SlowSync => "slow-sync",
            Self::Rot => "rot",
            Self::Pause => "pause",
            Self::Flap => "flap",
            Self::Skew => "skew",
            Self::LostNode => "lost-node",
            Self::LeftOut => "left-out",
            Self::Starvation => "starvation",
            Self::Loss => "loss",
            Self::Duplicate => "duplicate",
            Self::Spike => "spike",
            Self::Burst => "burst",
            Self::Queue => "queue",
            Self::Corruption => "corruption",
            Self::ClientLoss => "client-loss",
        }
    }
}

impl fmt::Display for FaultClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The faults of a run that are carried out. By default all are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask(BTreeMap<FaultClass, Numbers>);

/// Numbers of faults, as ranges with both ends, in order and apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Numbers(Vec<(u64, u64)>);

impl Mask {
    /// Every fault is carried out.
    #[must_use]
    pub const fn all() -> Self {
        Self(BTreeMap::new())
    }

    /// Of this class, these are carried out and no others.
    #[must_use]
    pub fn only(mut self, class: FaultClass, numbers: impl IntoIterator<Item = u64>) -> Self {
        let ranges = numbers.into_iter().map(|number| (number, number)).collect();
        self.0.insert(class, Numbers::of(ranges));
        self
    }

    /// Of this class, none is carried out.
    #[must_use]
    pub fn without(self, class: FaultClass) -> Self {
        self.only(class, [])
    }

    /// Whether this fault is carried out.
    #[must_use]
    pub fn allows(&self, class: FaultClass, number: u64) -> bool {
        self.ranges(class).is_none_or(|ranges| ranges.iter().any(|&(from, to)| (from..=to).contains(&number)))
    }

    /// Whether no fault of this class is carried out.
    #[must_use]
    pub fn excludes(&self, class: FaultClass) -> bool {
        self.ranges(class).is_some_and(<[_]>::is_empty)
    }

    /// What is carried out of a class, as ranges with both ends, in order; `None`: everything.
    pub(crate) fn ranges(&self, class: FaultClass) -> Option<&[(u64, u64)]> {
        self.0.get(&class).map(|numbers| numbers.0.as_slice())
    }
}

impl Numbers {
    /// Brings ranges into order, and joins those that meet.
    fn of(mut ranges: Vec<(u64, u64)>) -> Self {
        ranges.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::new();
        for (from, to) in ranges {
            match joined.last_mut() {
                Some((_, end)) if from <= end.saturating_add(1) => *end = to.max(*end),
                Some(_) | None => joined.push((from, to)),
            }
        }
        Self(joined)
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (from, to)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            if from == to {
                write!(f, "{comma}{from}")?;
            } else {
                write!(f, "{comma}{from}-{to}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (class, numbers)) in self.0.iter().enumerate() {
            let semicolon = if place == 0 { "" } else { ";" };
            write!(f, "{semicolon}{class}:{numbers}")?;
        }
        Ok(())
    }
}

/// A text that is no mask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MaskError {
    /// A part without a colon.
    #[error("{0:?} is no class with its numbers; write it as in `crash:0,3-5` or `loss:`")]
    NoColon(String),
    /// A class that there is not.
    #[error("there is no class of faults {0:?}; there are: {all}", all = names())]
    UnknownClass(String),
    /// A class that is named twice.
    #[error("{0} is named twice; name each class of faults once, with all of its numbers")]
    Twice(FaultClass),
    /// Something that is neither a number nor a range.
    #[error("{text:?} (of {class}) is neither a number, as 3, nor a range from low to high, as 3-5")]
    BadNumber {
        /// Of which class.
        class: FaultClass,
        /// What was written.
        text: String,
    },
}

fn names() -> String {
    FaultClass::ALL.map(FaultClass::name).join(", ")
}

impl FromStr for FaultClass {
    type Err = MaskError;

    fn from_str(text: &str) -> Result<Self, MaskError> {
        let found = Self::ALL.into_iter().find(|class| class.name() == text);
        found.ok_or_else(|| MaskError::UnknownClass(text.into()))
    }
}

impl FromStr for Mask {
    type Err = MaskError;

    fn from_str(text: &str) -> Result<Self, MaskError> {
        let mut mask = Self::all();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (class, numbers) = part.split_once(':').ok_or_else(|| MaskError::NoColon(part.into()))?;
            let class: FaultClass = class.trim().parse()?;
            let words = numbers.split(',').map(str::trim).filter(|word| !word.is_empty());
            let ranges: Result<Vec<_>, MaskError> = words
                .map(|word| range(word).ok_or_else(|| MaskError::BadNumber { class, text: word.into() }))
                .collect();
            if mask.0.insert(class, Numbers::of(ranges?)).is_some() {
                return Err(MaskError::Twice(class));
            }
        }
        Ok(mask)
    }
}

fn range(word: &str) -> Option<(u64, u64)> {
    let (from, to) = word.split_once('-').unwrap_or((word, word));
    let (from, to) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
    (from <= to).then_some((from, to))
}

impl Serialize for Mask {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_classes_follows_their_declaration_and_names_each_once() {
        for (place, class) in FaultClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, place, "{class}");
            assert_eq!(class.name().parse(), Ok(class));
        }
    }

    #[test]
    fn masks_come_back_from_their_text() {
        let mask = Mask::all()
            .only(FaultClass::Crash, [5, 0, 3, 4])
            .without(FaultClass::Loss)
            .only(FaultClass::Partition, [u64::MAX]);
        let text = mask.to_string();
        assert_eq!(text, "partition:18446744073709551615;crash:0,3-5;loss:");
        assert_eq!(text.parse(), Ok(mask.clone()));
        assert_eq!(" crash : 3 - 5 , 0,4 ;loss:; partition:18446744073709551615;".parse(), Ok(mask.clone()));
        let json = serde_json::to_string(&mask).unwrap();
        assert_eq!(serde_json::from_str::<Mask>(&json).unwrap(), mask);
        assert_eq!("".parse(), Ok(Mask::all()));
    }

    #[test]
    fn a_mask_allows_what_it_lists_and_every_class_that_it_does_not_name() {
        let mask: Mask = "crash:0,3-5;loss:".parse().unwrap();
        let crashes: Vec<u64> = (0..10).filter(|&number| mask.allows(FaultClass::Crash, number)).collect();
        assert_eq!(crashes, [0, 3, 4, 5]);
        assert!(!mask.allows(FaultClass::Loss, 0) && mask.excludes(FaultClass::Loss));
        assert!(mask.allows(FaultClass::Partition, 7) && !mask.excludes(FaultClass::Crash));
    }

    #[test]
    fn an_error_names_what_was_wrong() {
        let error = |text: &str| text.parse::<Mask>().unwrap_err().to_string();
        assert!(error("crash").contains("\"crash\" is no class with its numbers"));
        assert!(error("crush:1").contains("no class of faults \"crush\"; there are: partition, crash"));
        assert!(error("crash:1;crash:2").contains("crash is named twice"));
        for wrong in ["x", "5-3", "-1", "1-", "99999999999999999999", "1-2-3"] {
            assert!(error(&format!("crash:0,{wrong}")).contains(&format!("{wrong:?} (of crash)")), "{wrong}");
        }
    }
}
