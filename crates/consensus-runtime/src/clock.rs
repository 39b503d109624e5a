//! The only place that reads the clock.

use consensus_core::Time;
use std::time::Duration;
use tokio::time::Instant;

/// [`Time`] is nanoseconds since this clock was made. It may stand still while the machine is suspended, as the operating
/// system's monotonic clocks do: an algorithm that relies on clocks keeping pace must not run on such a machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// How long ago this clock was made.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The operating system's name of a time. A time that it cannot name is far away.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        const FAR: u64 = 365 * 24 * 3600 * 1_000_000_000;
        self.start + Duration::from_nanos(time.as_nanos().min(self.now().as_nanos() + FAR))
    }
}
