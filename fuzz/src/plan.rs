//! An input as a plan: a list of choices, one byte for each, so that the engine's own edits change one choice at a time.

use arbitrary::Unstructured;

/// The numbers at which counting goes wrong.
const EXTREMES: [u64; 6] = [0, 1 << 32, 1 << 62, 1 << 63, u64::MAX - 1, u64::MAX];

/// What is still to be chosen.
pub(crate) struct Plan<'a>(Unstructured<'a>);

impl<'a> Plan<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self(Unstructured::new(input))
    }

    /// Whether everything was chosen; from now on every choice is the first.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// Below `bound`, of which there may be 65,536; zero if that is zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let high = if bound > 256 { usize::from(self.byte()) << 8 } else { 0 };
        (high + usize::from(self.byte())).checked_rem(bound).unwrap_or(0)
    }

    /// Once in so many times.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) + 1 == times
    }

    /// Some number, mostly close to one that matters.
    pub(crate) fn near(&mut self, known: u64) -> u64 {
        match self.below(8) {
            0 => known.saturating_sub(1),
            1 | 2 => known.saturating_add(1),
            3 => known.saturating_add(2),
            4 => known.saturating_add(u64::from(self.byte())),
            5 => known.saturating_sub(u64::from(self.byte())),
            6 => EXTREMES[self.below(EXTREMES.len())],
            _ => known,
        }
    }

    /// One of these.
    pub(crate) fn pick<'b, T>(&mut self, among: &'b [T]) -> Option<&'b T> {
        among.get(self.below(among.len()))
    }

    /// So many bytes, fewer if there are not so many.
    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        self.0.bytes(count.min(self.0.len())).unwrap_or_default()
    }

    /// All the rest.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        self.bytes(usize::MAX)
    }

    /// A list of anything, changed a little; what is new in it comes from `among`.
    pub(crate) fn edit_list<T: Clone>(&mut self, list: &mut Vec<T>, among: &[T]) {
        let place = self.below(list.len());
        let fresh = self.pick(among).cloned();
        match (self.below(8), fresh) {
            (0, _) if !list.is_empty() => drop(list.remove(place)),
            (1, _) => list.truncate(place),
            (2, _) if !list.is_empty() => list.insert(place, list[place].clone()),
            (3, _) if !list.is_empty() => {
                let other = self.below(list.len());
                list.swap(place, other);
            }
            (4 | 5, Some(fresh)) => list.insert(place, fresh),
            (6, Some(fresh)) if !list.is_empty() => list[place] = fresh,
            (_, _) => list.reverse(),
        }
    }

    /// A few bytes changed, cut off, or taken from somewhere else.
    pub(crate) fn edit_bytes(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let place = self.below(bytes.len());
        match self.below(6) {
            0 => bytes.truncate(place),
            1 => {
                let start = self.below(other.len());
                let count = self.below(32);
                bytes.splice(place..place, other.iter().copied().skip(start).take(count)).for_each(drop);
            }
            2 => bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte = byte.wrapping_add(1)),
            3 => bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte = byte.wrapping_sub(1)),
            4 => {
                let value = self.byte();
                bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte = value);
            }
            _ => {
                let bit = self.below(8);
                bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= 1 << bit);
            }
        }
    }
}
