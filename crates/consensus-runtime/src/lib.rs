//! Runs any algorithm of the workspace on tokio.

mod replicated;

pub use replicated::{Applied, Replicated, RequestError};
