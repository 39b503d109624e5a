//! What the program says. A reader that goes away, as `head` does, is the end of the output and no error.

use std::io::{self, Write};

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
