//! Plans as files: TOML for people, JSON for tools. Whatever a file leaves out is calm; what it says and nobody knows is refused.

use super::Plan;
use serde::Serialize;
use std::fmt;

/// The largest text that is taken for a plan, in bytes.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// How a plan is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Toml,
    /// For tools.
    Json,
}

impl Format {
    /// The format of this name, as in the ending of a file.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Toml, Self::Json].into_iter().find(|format| format.to_string().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Toml => "toml",
            Self::Json => "json",
        })
    }
}

/// A text that is no plan, or a plan that no run can follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The text is not of this format, or has fields that a plan has not.
    #[error("it cannot be read as a plan in {format}: {detail}")]
    Syntax {
        /// The format.
        format: Format,
        /// Where, and what is wrong.
        detail: String,
    },
    /// The value of a field makes no sense, alone or beside another.
    #[error("{field}: {problem}")]
    Invalid {
        /// The field, as it is written in a file.
        field: String,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
}

impl Plan {
    /// Reads a plan and checks it. Fields that are left out are calm.
    ///
    /// # Errors
    /// The text is too long, not of this format, has an unknown field, or describes what no run can follow; the error names the
    /// field.
    pub fn parse(text: &str, format: Format) -> Result<Self, PlanError> {
        let refused = |detail: String| PlanError::Syntax { format, detail: detail.trim_end().into() };
        if text.len() > MAX_TEXT_BYTES {
            return Err(refused(format!("it is longer than {MAX_TEXT_BYTES} bytes")));
        }
        let plan: Self = match format {
            Format::Toml => toml::from_str(text).map_err(|error| refused(error.to_string()))?,
            Format::Json => serde_json::from_str(text).map_err(|error| refused(error.to_string()))?,
        };
        plan.validate()?;
        Ok(plan)
    }

    /// Writes the plan so that [`Plan::parse`] gives it back.
    ///
    /// # Errors
    /// A number is too large for the format; never for a plan that [`Plan::validate`] takes.
    pub fn print(&self, format: Format) -> Result<String, PlanError> {
        let refused = |detail: String| PlanError::Syntax { format, detail };
        match format {
            Format::Toml => toml::to_string(self).map_err(|error| refused(error.to_string())),
            Format::Json => json(self).map_err(|error| refused(error.to_string())),
        }
    }
}

fn json(plan: &impl Serialize) -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(plan)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drawn_plan_can_be_written_down_and_read_back() {
        for seed in 0..200 {
            let plan = Plan::draw(seed);
            for format in [Format::Toml, Format::Json] {
                let text = plan.print(format).unwrap();
                assert_eq!(Plan::parse(&text, format).as_ref(), Ok(&plan), "seed {seed}:\n{text}");
            }
        }
    }

    #[test]
    fn an_empty_file_is_calm() {
        assert_eq!(Plan::parse("", Format::Toml), Ok(Plan::calm(3)));
        assert_eq!(Plan::parse("{}", Format::Json), Ok(Plan::calm(3)));
        assert_eq!(Plan::parse("nodes = 5", Format::Toml), Ok(Plan::calm(5)));
    }

    #[test]
    fn what_nobody_knows_is_refused_by_name() {
        for (text, name) in [
            ("node = 3", "unknown field `node`"),
            ("[network]\nlos = \"2%\"", "unknown field `los`"),
            ("[network]\nloss = 2", "expected a rate such as \"2.5%\""),
            ("[network]\nloss = \"2\"", "is no rate"),
            ("[crashes]\nevery = \"1s\"\nlasts = \"5\"", "is no span"),
            ("[crashes]\nevery = \"1s\"", "missing field `lasts`"),
            ("[network.topology]\nshape = \"circle\"", "unknown variant `circle`"),
            ("nodes = -1", "nodes"),
            ("nodes = ", "line 1"),
            ("[[network.links]]\nfrom = 1\nto = 2\nlatency = { constant = \"1ms\", uniform = 1 }", "latency"),
        ] {
            let Err(PlanError::Syntax { format: Format::Toml, detail }) = Plan::parse(text, Format::Toml)
            else {
                panic!("{text} is taken");
            };
            assert!(detail.contains(name), "{text}: {detail}");
        }
        let said = Plan::parse("{\"network\": {\"los\": 1}}", Format::Json).unwrap_err().to_string();
        assert!(
            said.contains("json") && said.contains("unknown field `los`") && said.contains("line 1"),
            "{said}"
        );
        let long = " ".repeat(MAX_TEXT_BYTES + 1);
        assert!(Plan::parse(&long, Format::Toml).unwrap_err().to_string().contains("longer than"));
    }

    #[test]
    fn formats_have_names() {
        assert_eq!(
            (Format::named("TOML"), Format::named("json"), Format::named("yaml")),
            (Some(Format::Toml), Some(Format::Json), None)
        );
    }
}
