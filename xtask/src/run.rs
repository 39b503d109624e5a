//! Starting cargo and other programs from the root of the workspace.

use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The root of the workspace.
///
/// # Errors
/// If this program was moved out of its workspace.
pub fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(Path::to_path_buf).context("xtask has no parent folder; run it through `cargo xtask`")
}

/// A cargo command in the root of the workspace, with the cargo that started us.
///
/// # Errors
/// See [`root`].
pub fn cargo() -> Result<Command> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(root()?);
    Ok(command)
}

/// Runs `command` to its end.
///
/// # Errors
/// If it cannot be started or does not succeed.
pub fn succeed(command: &mut Command) -> Result<()> {
    let line = announce(command);
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Runs `command` to its end, and returns what it printed.
///
/// # Errors
/// If it cannot be started, does not succeed, or prints no text.
pub fn output(command: &mut Command) -> Result<String> {
    let line = announce(command);
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed: {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("what `{line}` printed is no text"))
}

/// Tells what is run, as a person would type it.
fn announce(command: &Command) -> String {
    let words: Vec<_> =
        std::iter::once(command.get_program().to_string_lossy().rsplit('/').next().map(str::to_owned))
            .chain(command.get_args().map(|word| Some(word.to_string_lossy().into_owned())))
            .flatten()
            .collect();
    let line = words.join(" ");
    eprintln!("\u{2500}\u{2500} {line}");
    line
}
