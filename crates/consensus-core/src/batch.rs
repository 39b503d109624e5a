//! A batch of items that is shared between a log, the disk and every peer.
//!
//! It is allocated once, when a burst is closed or a message is decoded; everything after that counts references.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a batch may be made of.
pub trait Item: Clone {
    /// The most items in one batch, whoever sends it: a peer cannot make us allocate more. Far below 2^32.
    const MOST: usize;

    /// What it counts for when bytes are bounded.
    fn size(&self) -> usize;

    /// Bits that tell what is rare about it, so that a batch without it need not be searched.
    fn marks(&self) -> u8 {
        0
    }
}

/// Consecutive items, shared. A clone costs a reference count.
#[derive(Clone)]
pub struct Batch<T> {
    shared: Option<Arc<[T]>>,
    from: u32,
    to: u32,
    size: usize,
    /// The marks of all items of the shared batch, if this is a part of it.
    marks: u8,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self { shared: None, from: 0, to: 0, size: 0, marks: 0 }
    }
}

impl<T: Item> Batch<T> {
    /// A batch of items of which it is known what they count for.
    pub fn of_size(items: impl Iterator<Item = T>, size: usize) -> Self {
        let batch = Self::whole(items.collect(), size);
        debug_assert_eq!(size, batch.iter().map(Item::size).sum::<usize>());
        batch
    }

    fn whole(shared: Arc<[T]>, size: usize) -> Self {
        if shared.is_empty() {
            return Self::default();
        }
        let marks = shared.iter().fold(0, |marks, item| marks | item.marks());
        Self { from: 0, to: index(shared.len()), size, marks, shared: Some(shared) }
    }

    /// The first `count` of these, or all.
    #[must_use]
    pub fn take(&self, count: usize) -> Self {
        self.range(0, count)
    }

    /// All but the first `count`.
    #[must_use]
    pub fn skip(&self, count: usize) -> Self {
        self.range(count, self.len())
    }

    /// Those at `start..end`, cut to what is there.
    #[must_use]
    pub fn range(&self, start: usize, end: usize) -> Self {
        let (start, end) = (start.min(self.len()), end.min(self.len()));
        if start == 0 && end == self.len() {
            return self.clone();
        }
        if start >= end {
            return Self::default();
        }
        let (from, to) = (self.from + index(start), self.from + index(end));
        let mut cut = Self { shared: self.shared.clone(), from, to, size: 0, marks: self.marks };
        cut.size = cut.iter().map(Item::size).sum();
        cut
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        (self.to - self.from) as usize
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.from == self.to
    }

    /// What they count for when bytes are bounded.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// The marks of all items; of a part, perhaps more. Nearly always none.
    #[must_use]
    pub const fn marks(&self) -> u8 {
        self.marks
    }
}

impl<T> Deref for Batch<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.shared
            .as_ref()
            .and_then(|shared| shared.get(self.from as usize..self.to as usize))
            .unwrap_or_default()
    }
}

impl<T: Item> FromIterator<T> for Batch<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let shared: Arc<[T]> = items.into_iter().collect();
        let size = shared.iter().map(Item::size).sum();
        Self::whole(shared, size)
    }
}

/// A batch is bounded by [`Item::MOST`], far below the range.
fn index(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

impl<T: PartialEq> PartialEq for Batch<T> {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl<T: fmt::Debug> fmt::Debug for Batch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T: Serialize> Serialize for Batch<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de, T: Item + Deserialize<'de>> Deserialize<'de> for Batch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded<T>(PhantomData<T>);
        impl<'de, T: Item + Deserialize<'de>> Visitor<'de> for Bounded<T> {
            type Value = Batch<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {} items", T::MOST)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Batch<T>, A::Error> {
                // The claimed length is not believed: room grows with what really arrives.
                let expected = items.size_hint().unwrap_or(0).min(256);
                let mut taken = Vec::with_capacity(expected);
                while let Some(item) = items.next_element()? {
                    if taken.len() == T::MOST {
                        return Err(A::Error::invalid_length(taken.len() + 1, &self));
                    }
                    taken.push(item);
                }
                Ok(if taken.is_empty() { Batch::default() } else { taken.into_iter().collect() })
            }
        }
        deserializer.deserialize_seq(Bounded(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;
    use std::vec;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Weight(u8);

    impl Item for Weight {
        const MOST: usize = 5;

        fn size(&self) -> usize {
            usize::from(self.0)
        }

        fn marks(&self) -> u8 {
            u8::from(self.0 == 9)
        }
    }

    fn batch(weights: &[u8]) -> Batch<Weight> {
        weights.iter().copied().map(Weight).collect()
    }

    #[test]
    fn parts_are_what_a_slice_would_give() {
        let whole = batch(&[1, 9, 3, 4]);
        for start in 0..6 {
            for end in 0..6 {
                let slice = whole.get(start..end.min(4)).unwrap_or_default().to_vec();
                let part = whole.range(start, end);
                assert_eq!((part.len(), part.is_empty()), (slice.len(), slice.is_empty()));
                assert_eq!(part.size(), slice.iter().map(Item::size).sum::<usize>());
                assert_eq!(part[..], slice[..]);
                assert_eq!(part.skip(1)[..], *slice.get(1..).unwrap_or_default());
            }
        }
        assert_eq!(whole.take(2), batch(&[1, 9]));
    }

    #[test]
    fn a_batch_is_marked_if_one_of_its_items_is() {
        assert_eq!((batch(&[1, 9]).marks(), batch(&[1, 2]).marks(), batch(&[]).marks()), (1, 0, 0));
        assert_eq!(batch(&[1, 9]).take(1).marks(), 1, "a part does not look");
        assert_eq!(Batch::of_size(vec![Weight(9), Weight(2)].into_iter(), 11), batch(&[9, 2]));
    }

    #[test]
    fn more_than_the_most_is_refused() {
        let bytes = |count: u8| wire::encode(&(0..count).map(Weight).collect::<Vec<_>>());
        assert_eq!(wire::decode::<Batch<Weight>>(&bytes(5), 100), Ok(batch(&[0, 1, 2, 3, 4])));
        assert!(wire::decode::<Batch<Weight>>(&bytes(6), 100).is_err());
        assert!(wire::decode::<Batch<Weight>>(&[255, 255, 255, 255, 15], 100).is_err(), "a length alone");
        assert_eq!(wire::decode(&wire::encode(&batch(&[1, 2])), 100), Ok(batch(&[1, 2])));
    }
}
