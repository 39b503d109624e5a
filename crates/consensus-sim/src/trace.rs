//! The fingerprint of a run: a running hash over everything that happens, and on request the readable lines.
//!
//! Two runs are the same if and only if their hashes are: each event, each delivered byte and each reply goes in.

use consensus_core::Time;

/// The trace of a run.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    events: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// An empty trace; with `lines`, one that keeps what it is told.
    #[must_use]
    pub fn new(lines: bool) -> Self {
        Self { hash: 0, events: 0, lines: lines.then(Vec::new) }
    }

    /// The hash so far.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events there were.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The lines, if they are kept.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }

    /// Notes that an event of this kind happens now.
    pub fn event(&mut self, now: Time, kind: u64, who: u64) {
        self.events += 1;
        self.number(now.as_nanos());
        self.number(kind << 32 | who);
    }

    /// Mixes a number in.
    pub const fn number(&mut self, number: u64) {
        self.hash = mix(self.hash, number);
    }

    /// Mixes bytes in.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.hash = hash_bytes(self.hash, bytes);
    }

    /// Keeps a line, if lines are kept; `line` is not called otherwise.
    pub fn say(&mut self, now: Time, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{now} {}", line()));
        }
    }
}

/// Mixes `number` into `hash`. Ours, so that no upgrade of a dependency changes a fingerprint; not for secrets.
#[must_use]
pub const fn mix(hash: u64, number: u64) -> u64 {
    let mixed = (hash.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

/// Mixes `bytes` and their number into `hash`.
#[must_use]
pub fn hash_bytes(mut hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = mix(hash, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    for (place, byte) in last.iter_mut().zip(rest) {
        *place = *byte;
    }
    mix(mix(hash, u64::from_le_bytes(last)), bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_and_the_order_of_bytes_count() {
        assert_ne!(hash_bytes(0, &[1, 0]), hash_bytes(0, &[1]));
        assert_ne!(hash_bytes(0, &[1, 2]), hash_bytes(0, &[2, 1]));
        assert_ne!(mix(mix(0, 1), 2), mix(mix(0, 2), 1));
    }

    #[test]
    fn lines_are_made_only_when_they_are_kept() {
        let mut silent = Trace::new(false);
        silent.say(Time::ZERO, || unreachable!("nobody reads it"));
        let mut talking = Trace::new(true);
        talking.say(Time::ZERO, || "hello".into());
        assert_eq!(talking.lines(), ["0.000000ms hello"]);
    }
}
