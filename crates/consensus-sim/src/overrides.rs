//! What of a drawn plan is set otherwise: a smaller world for a failing run, or one to someone's liking.
//!
//! As text, for command lines: `nodes=3;clients=1;operations=20;faults_for_us=850000`. Overrides come after everything is drawn,
//! the algorithm's own configuration too, so that they change nothing else.

use crate::plan::Plan;
use crate::still::Still;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// The most nodes that can be asked for: the links alone grow with the square.
const MAX_NODES: u64 = 64;
/// The most clients that can be asked for.
const MAX_CLIENTS: u64 = 1_000;

/// A part of a plan that can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setting {
    /// How many nodes; as [`Plan::nodes`].
    Nodes,
    /// How many clients; as [`crate::Workload::clients`].
    Clients,
    /// How many operations at most; as [`crate::Workload::operations`].
    Operations,
    /// On how many registers; as [`crate::Workload::keys`].
    Keys,
    /// The most bytes of ballast in a command; as [`crate::Workload::ballast_bytes`].
    BallastBytes,
    /// How long faults come, in microseconds; as [`Plan::faults_for`].
    FaultsForUs,
    /// How long a node collects inputs, in microseconds; as [`Plan::burst`].
    BurstUs,
    /// The bytes after which a node offers a snapshot; as [`Plan::compact_after_bytes`].
    CompactAfterBytes,
    /// Whether the links are all alike, from everybody to everybody (1), or as drawn (0); see [`crate::NetworkPlan::topology`].
    FullMesh,
    /// All clocks stop, without a storm (1) or after it (2); 0: as drawn. See [`Plan::keep_still`].
    Still,
}

impl Setting {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 10] = [
        Self::Nodes,
        Self::Clients,
        Self::Operations,
        Self::Keys,
        Self::BallastBytes,
        Self::FaultsForUs,
        Self::BurstUs,
        Self::CompactAfterBytes,
        Self::FullMesh,
        Self::Still,
    ];

    /// Its name on a command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Clients => "clients",
            Self::Operations => "operations",
            Self::Keys => "keys",
            Self::BallastBytes => "ballast_bytes",
            Self::FaultsForUs => "faults_for_us",
            Self::BurstUs => "burst_us",
            Self::CompactAfterBytes => "compact_after_bytes",
            Self::FullMesh => "full_mesh",
            Self::Still => "still",
        }
    }

    /// The least and the largest value.
    #[must_use]
    pub const fn bounds(self) -> (u64, u64) {
        match self {
            Self::Nodes => (1, MAX_NODES),
            Self::Clients => (1, MAX_CLIENTS),
            Self::Operations => (0, u64::MAX),
            Self::Keys => (1, u16::MAX as u64),
            Self::BallastBytes => (0, 1 << 20),
            // An hour of virtual time.
            Self::FaultsForUs => (0, 3_600_000_000),
            Self::BurstUs => (0, 1_000_000),
            Self::CompactAfterBytes => (1, 1 << 40),
            Self::FullMesh => (0, 1),
            Self::Still => (0, 2),
        }
    }

    /// What the plan says of it, if it says anything.
    #[must_use]
    pub fn of(self, plan: &Plan) -> Option<u64> {
        let micros = |span: Duration| u64::try_from(span.as_micros()).ok();
        match self {
            Self::Nodes => u64::try_from(plan.nodes).ok(),
            Self::Clients => Some(u64::from(plan.workload.clients)),
            Self::Operations => plan.workload.operations,
            Self::Keys => Some(u64::from(plan.workload.keys)),
            Self::BallastBytes => Some(plan.workload.ballast_bytes),
            Self::FaultsForUs => micros(plan.faults_for),
            Self::BurstUs => micros(plan.burst),
            Self::CompactAfterBytes => Some(plan.compact_after_bytes),
            Self::FullMesh => {
                Some(u64::from(plan.network.topology.is_none() && plan.network.links.is_empty()))
            }
            Self::Still => Some(match plan.still {
                None => 0,
                Some(Still::InCalm) => 1,
                Some(Still::AfterStorm) => 2,
            }),
        }
    }

    fn set(self, plan: &mut Plan, value: u64) {
        let span = Duration::from_micros(value);
        match self {
            Self::Nodes => plan.nodes = usize::try_from(value).unwrap_or(plan.nodes),
            Self::Clients => plan.workload.clients = u32::try_from(value).unwrap_or(plan.workload.clients),
            Self::Operations => plan.workload.operations = Some(value),
            Self::Keys => plan.workload.keys = u16::try_from(value).unwrap_or(plan.workload.keys),
            Self::BallastBytes => plan.workload.ballast_bytes = value,
            Self::FaultsForUs => plan.faults_for = span,
            Self::BurstUs => plan.burst = span,
            Self::CompactAfterBytes => plan.compact_after_bytes = value,
            Self::FullMesh if value == 1 => {
                plan.network.topology = None;
                plan.network.links.clear();
            }
            Self::FullMesh => {}
            Self::Still if value == 1 => plan.keep_still(Still::InCalm),
            Self::Still if value == 2 => plan.keep_still(Still::AfterStorm),
            Self::Still => {}
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Settings that replace what was drawn. By default there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides(BTreeMap<Setting, u64>);

impl Overrides {
    /// Nothing is set: the plan stays as drawn.
    #[must_use]
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// With this setting, brought within its bounds.
    #[must_use]
    pub fn with(mut self, setting: Setting, value: u64) -> Self {
        let (least, largest) = setting.bounds();
        self.0.insert(setting, value.clamp(least, largest));
        self
    }

    /// What is set, if it is.
    #[must_use]
    pub fn get(&self, setting: Setting) -> Option<u64> {
        self.0.get(&setting).copied()
    }

    /// Changes the plan.
    pub fn apply(&self, plan: &mut Plan) {
        for (setting, value) in &self.0 {
            setting.set(plan, *value);
        }
    }
}

impl fmt::Display for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (setting, value)) in self.0.iter().enumerate() {
            let semicolon = if place == 0 { "" } else { ";" };
            write!(f, "{semicolon}{setting}={value}")?;
        }
        Ok(())
    }
}

/// A text that sets nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OverridesError {
    /// A part without an equals sign.
    #[error("{0:?} sets nothing; write it as in `nodes=3`")]
    NoValue(String),
    /// A setting that there is not.
    #[error("there is no setting {0:?}; there are: {all}", all = names())]
    UnknownSetting(String),
    /// A setting that is named twice.
    #[error("{0} is set twice; set it once")]
    Twice(Setting),
    /// A value that is no number, or out of bounds.
    #[error("{setting}={text} is not possible: it takes a number from {least} to {largest}")]
    BadValue {
        /// What was to be set.
        setting: Setting,
        /// To what.
        text: String,
        /// The least value.
        least: u64,
        /// The largest value.
        largest: u64,
    },
}

fn names() -> String {
    Setting::ALL.map(Setting::name).join(", ")
}

impl FromStr for Setting {
    type Err = OverridesError;

    fn from_str(text: &str) -> Result<Self, OverridesError> {
        let found = Self::ALL.into_iter().find(|setting| setting.name() == text);
        found.ok_or_else(|| OverridesError::UnknownSetting(text.into()))
    }
}

impl FromStr for Overrides {
    type Err = OverridesError;

    fn from_str(text: &str) -> Result<Self, OverridesError> {
        let mut overrides = Self::none();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (setting, value) =
                part.split_once('=').ok_or_else(|| OverridesError::NoValue(part.into()))?;
            let (setting, text): (Setting, &str) = (setting.trim().parse()?, value.trim());
            let (least, largest) = setting.bounds();
            let value = text.parse().ok().filter(|value| (least..=largest).contains(value));
            let value = value.ok_or_else(|| OverridesError::BadValue {
                setting,
                text: text.into(),
                least,
                largest,
            })?;
            if overrides.0.insert(setting, value).is_some() {
                return Err(OverridesError::Twice(setting));
            }
        }
        Ok(overrides)
    }
}

impl Serialize for Overrides {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Overrides {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_come_back_from_their_text() {
        let overrides = Overrides::none().with(Setting::Operations, 20).with(Setting::Nodes, 3);
        assert_eq!(overrides.to_string(), "nodes=3;operations=20");
        assert_eq!("operations = 20; nodes=3;".parse(), Ok(overrides.clone()));
        let json = serde_json::to_string(&overrides).unwrap();
        assert_eq!(serde_json::from_str::<Overrides>(&json).unwrap(), overrides);
    }

    #[test]
    fn each_setting_changes_the_plan_and_nothing_but_what_it_names() {
        for setting in Setting::ALL {
            let mut plan = Plan::draw(3);
            let before = Setting::ALL.map(|other| other.of(&plan));
            let value = setting.bounds().1.min(7);
            Overrides::none().with(setting, value).apply(&mut plan);
            let also = if setting == Setting::Still { Some(Setting::CompactAfterBytes) } else { None };
            for (other, before) in
                Setting::ALL.into_iter().zip(before).filter(|(other, _)| Some(*other) != also)
            {
                let expected = if other == setting { Some(value) } else { before };
                assert_eq!(other.of(&plan), expected, "{other} after {setting}={value}");
            }
            assert_eq!(setting.name().parse(), Ok(setting));
        }
    }

    #[test]
    fn an_error_names_what_was_wrong() {
        let error = |text: &str| text.parse::<Overrides>().unwrap_err().to_string();
        assert!(error("nodes").contains("\"nodes\" sets nothing"));
        assert!(error("node=3").contains("no setting \"node\"; there are: nodes, clients"));
        assert!(error("nodes=3;nodes=3").contains("nodes is set twice"));
        for wrong in ["", "0", "65", "-1", "x", "99999999999999999999999"] {
            let said = error(&format!("nodes={wrong}"));
            assert!(said.contains(&format!("nodes={wrong} is not possible")), "{said}");
        }
    }
}
