//! Programs of the workspace, built for a measurement.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// How a program is built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Build {
    /// The name in tables.
    pub(crate) name: &'static str,
    arguments: &'static [&'static str],
    directory: &'static str,
}

/// As it is shipped.
pub(crate) const RELEASE: Build =
    Build { name: "release", arguments: &["--release"], directory: "target/release" };
/// As tests and continuous integration run it.
pub(crate) const DEVELOPMENT: Build =
    Build { name: "development", arguments: &[], directory: "target/debug" };

/// Builds the program `name` of the package of the same name, and tells where it is.
pub(crate) fn build(name: &str, how: Build) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace is gone")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--package", name, "--bin", name])
        .args(how.arguments)
        .current_dir(root)
        .env_remove("CARGO_TARGET_DIR")
        .status()
        .context("could not run cargo")?;
    ensure!(status.success(), "{name} does not build");
    Ok(root.join(how.directory).join(name))
}
