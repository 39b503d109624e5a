//! Agreement on one bit among nodes of which fewer than a third lie, with a coin that falls for everybody alike and that nobody foresees.
//!
//! A round narrows down which values may be left before its coin is tossed. EST: a value that t + 1 voters speak for is one that a correct node
//! holds, and is passed on; one that 2t + 1 speak for is accepted. AUX: everybody names one value that it has accepted. CONF: everybody says
//! which values n − t voters have named. Whoever has n − t of these can see one value left, the same for all who see but one, or both; that is so
//! before any correct node gives its share of the coin, and without one of those shares nobody knows how the coin falls. It falls on
//! the one value every second time, and then everybody holds that.

mod coin;
mod config;
mod message;
mod mutant;
mod past;
mod record;
mod rounds;
mod state;
mod step;
mod votes;

pub use coin::{Coin, CoinKey, CoinKeys, KeyError, Share, deal};
pub use config::{Config, Thresholds};
pub use message::{Casts, Message, Standing, Values};
#[cfg(all(feature = "mutants", debug_assertions))]
pub use mutant::Mutant;
pub use record::Record;
pub use state::Mmr;
pub use step::Timer;
