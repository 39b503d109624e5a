//! How long the disk takes: a histogram, and a word when it takes too long.

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::time::Duration;

/// A write that takes longer holds up whatever waits for it by as much as a short election timeout.
const SLOW: Duration = Duration::from_millis(500);
/// The first bound of the histogram, in seconds; each of the others is twice the one before, up to two seconds.
const FIRST_BOUND: f64 = 62.5e-6;
const BOUNDS: u16 = 16;

/// The writes of one journal, each with its sync.
#[derive(Debug)]
pub(crate) struct Syncs(Histogram);

impl Default for Syncs {
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(FIRST_BOUND, 2.0, BOUNDS)))
    }
}

impl Syncs {
    /// A write of so many bytes and records was made durable.
    pub(crate) fn observe(&self, took: Duration, bytes: usize, records: usize) {
        self.0.observe(took.as_secs_f64());
        if took >= SLOW {
            tracing::warn!(took_ms = took.as_millis(), bytes, records, "the disk is slow");
        }
    }

    pub(crate) const fn histogram(&self) -> &Histogram {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Result, Write};
    use std::sync::mpsc::{Sender, channel};

    struct Sink(Sender<Vec<u8>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            self.0.send(bytes.to_vec()).expect("somebody reads");
            Ok(bytes.len())
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_a_slow_write_is_told() {
        let (sender, lines) = channel();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || Sink(sender.clone())).finish();
        tracing::subscriber::with_default(subscriber, || {
            let syncs = Syncs::default();
            syncs.observe(Duration::from_millis(499), 10, 1);
            syncs.observe(Duration::from_millis(501), 20, 2);
        });
        let line = String::from_utf8(lines.iter().flatten().collect()).expect("it is text");
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(line.contains("the disk is slow took_ms=501 bytes=20 records=2"), "{line}");
    }
}
