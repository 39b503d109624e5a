//! What the program says. A reader that goes away, as `head` does, is the end of the output and no error.

use conformance::Watch;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a text and the end of its line.
///
/// # Errors
/// Nobody reads, or the output cannot be written.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Runs `work` under a bar that counts its seeds: at a terminal only, and gone afterwards.
pub(crate) fn with_progress<T>(name: &str, seeds: u64, work: impl FnOnce(Watch<'_>) -> T) -> T {
    if !io::stderr().is_terminal() {
        return work(&|_| {});
    }
    let bar = ProgressBar::new(seeds);
    let style = ProgressStyle::with_template("{prefix} {bar:40} {pos}/{len} seeds, {msg} failed, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(name.to_owned());
    bar.set_message("0");
    let failed = AtomicU64::new(0);
    let result = work(&|report| {
        if report.failure.is_some() {
            let failed = failed.fetch_add(1, Ordering::Relaxed) + 1;
            bar.set_message(failed.to_string());
        }
        bar.inc(1);
    });
    bar.finish_and_clear();
    result
}
