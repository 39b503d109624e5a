//! Plans from files, for the commands that run something.

use anyhow::Result;
use conformance::plans;
use conformance::subjects::Subject;
use std::path::Path;

/// The subject under the plan in this file, if one is named, with a word on what of it is beyond its claims.
pub(crate) fn under<'a>(
    subject: &'a dyn Subject,
    path: Option<&Path>,
) -> Result<Option<Box<dyn Subject + 'a>>> {
    let Some(path) = path else { return Ok(None) };
    let plan = plans::load(path)?;
    let beyond = subject.beyond_claims(&plan)?;
    if !beyond.is_empty() {
        let (name, beyond) = (subject.name(), beyond.join(", "));
        eprintln!("{name}: beyond what it claims, and therefore left out or bent: {beyond}");
    }
    Ok(Some(subject.under(plan, path)))
}
