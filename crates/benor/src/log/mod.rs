//! A replicated log that nobody leads: one batch of proposals, or none, is agreed on at a time, by coins.
//!
//! Whoever has proposals makes *batches* of them and gives them to everybody. The log is a sequence of *instances*, several under way
//! at once. For each, every voter *offers* a batch that it holds. If most of all voters offer the same one, whoever sees that holds
//! `1`, and otherwise `0`; which of the two it is, Ben-Or's rounds decide. `1` is that batch, and there is only one that it can be. `0` is
//! nothing, and what was offered is offered again. Since everybody offers what it has seen others offer, most instances decide a batch, in one
//! round. Nobody is waited for by name: whichever nodes stop, the others go on as they were.
//!
//! An instance with a batch fills as many slots of the log as there are proposals in it. (Rabia, SOSP 2021, is built alike.)

mod batches;
mod catch_up;
mod config;
mod ledger;
mod message;
mod open;
mod read;
mod record;
mod replay;
mod rounds;
mod snapshot;
mod state;
mod step;

pub use config::Config;
pub use message::{
    BatchId, Entries, Entry, Instance, MAX_BATCH_ENTRIES, Message, Numbers, Offer, Outcome, Page, Parcel,
    Piece, Stand, Want, Word,
};
pub(crate) use open::Open;
pub use record::{Record, Vote};
pub use state::Log;
pub use step::Timer;
