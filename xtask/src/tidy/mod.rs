//! The rules of the repository, as checks. Each rule names what broke it and why the rule exists.

mod arrows;
mod clauses;
mod files;
mod links;
mod mistakes;

use crate::run;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One file of the repository.
pub struct Source {
    /// Its path from the root.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

impl Source {
    fn is(&self, ending: &str) -> bool {
        self.path.extension().is_some_and(|found| found == ending)
    }

    fn within(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }
}

/// Checks every rule and prints what breaks one.
///
/// # Errors
/// If a rule is broken.
pub fn run() -> Result<()> {
    let broken = check(&run::root()?)?;
    for line in &broken {
        eprintln!("{line}");
    }
    if !broken.is_empty() {
        bail!("{} rules of the repository are broken", broken.len());
    }
    println!("tidy: every rule holds");
    Ok(())
}

/// Everything that breaks a rule below `root`.
///
/// # Errors
/// If the repository cannot be read.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let sources = sources(root)?;
    let mut broken = arrows::check(root)?;
    broken.extend(files::check(&sources));
    broken.extend(clauses::check(&sources));
    broken.extend(mistakes::check(&sources));
    broken.extend(links::check(root, &sources));
    Ok(broken)
}

/// Every text file that git tracks or would track.
fn sources(root: &Path) -> Result<Vec<Source>> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root)
        .output()
        .context("tidy needs git to list the files")?;
    if !listed.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&listed.stderr));
    }
    let names = String::from_utf8(listed.stdout).context("a file name is not UTF-8")?;
    let mut sources = Vec::new();
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        let path = PathBuf::from(name);
        // A file that git lists may be gone from the work tree, and a binary file is not ours to judge.
        if let Ok(text) = std::fs::read_to_string(root.join(&path)) {
            sources.push(Source { path, text });
        }
    }
    Ok(sources)
}
