//! The commands of the program, one file for each that is more than a few lines.

pub(crate) mod hash;
pub(crate) mod plan;
pub(crate) mod sim;
