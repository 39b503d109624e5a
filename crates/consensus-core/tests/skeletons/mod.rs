//! Protocols in their plainest form.

pub mod ben_or;
pub mod two_phase;
