//! What was carried out lately, under which name: for algorithms that may decide one proposal at two places, as they must where a
//! liar may order what was ordered before.
//!
//! The table is part of the replicated state. It changes only by decisions, its bounds are constants, and it travels inside
//! every snapshot, so that all replicas carry out and pass over alike. Whoever repeats a proposal after so many others that it
//! was let go is a client who asks anew.

use crate::id::{ProposalId, Slot};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};

/// The most proposals that are remembered; the oldest go first.
pub const MAX_RECENT: usize = 1 << 14;
/// The most bytes of replies that are kept for them. A proposal may be remembered for longer than its reply.
pub const MAX_RECENT_BYTES: usize = 4 << 20;

/// The proposals of clients without a session that were carried out lately.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "Vec<Row>")]
pub(crate) struct Recent {
    /// Oldest first; those before `replied` have no reply any more.
    rows: VecDeque<Row>,
    /// How many were let go before the oldest.
    gone: u64,
    /// Which one, counted from the first that ever was, goes by this name.
    places: BTreeMap<ProposalId, u64>,
    replied: usize,
    /// Bytes of replies.
    held: usize,
}

type Row = (ProposalId, Slot, Option<Bytes>);

/// A table that no replica produces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the table of recent proposals exceeds its bounds, or is not in order")]
pub(crate) struct Impossible;

impl PartialEq for Recent {
    fn eq(&self, other: &Self) -> bool {
        self.rows == other.rows
    }
}

impl Eq for Recent {}

impl Serialize for Recent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.rows)
    }
}

impl TryFrom<Vec<Row>> for Recent {
    type Error = Impossible;

    fn try_from(rows: Vec<Row>) -> Result<Self, Impossible> {
        let replied = rows.iter().take_while(|(.., reply)| reply.is_none()).count();
        let has_gap = rows.iter().skip(replied).any(|(.., reply)| reply.is_none());
        let rises = rows.is_sorted_by(|(_, one, _), (_, next, _)| one < next);
        let held: usize = rows.iter().filter_map(|(.., reply)| reply.as_ref()).map(Bytes::len).sum();
        if has_gap || !rises || rows.len() > MAX_RECENT || held > MAX_RECENT_BYTES {
            return Err(Impossible);
        }
        let places: BTreeMap<ProposalId, u64> = rows.iter().map(|&(id, ..)| id).zip(0..).collect();
        if places.len() != rows.len() {
            return Err(Impossible);
        }
        Ok(Self { rows: rows.into(), gone: 0, places, replied, held })
    }
}

impl Recent {
    /// Where it was carried out, and the reply if that is still kept.
    pub(crate) fn get(&self, id: ProposalId) -> Option<(Slot, Option<&Bytes>)> {
        let place = self.places.get(&id)?.checked_sub(self.gone)?;
        let (_, slot, reply) = self.rows.get(usize::try_from(place).ok()?)?;
        Some((*slot, reply.as_ref()))
    }

    /// It was carried out, for the first time.
    pub(crate) fn record(&mut self, id: ProposalId, slot: Slot, reply: &Bytes) {
        // A reply that is a slice of something larger would keep all of it alive.
        let reply = Bytes::copy_from_slice(reply);
        self.held += reply.len();
        let place = self.gone + self.rows.len() as u64;
        if self.places.insert(id, place).is_some() {
            debug_assert!(false, "{id:?} is recorded twice");
        }
        self.rows.push_back((id, slot, Some(reply)));
        while self.held > MAX_RECENT_BYTES {
            let Some((.., reply)) = self.rows.get_mut(self.replied) else { break };
            self.held -= reply.take().map_or(0, |reply| reply.len());
            self.replied += 1;
        }
        while self.rows.len() > MAX_RECENT {
            let Some((id, _, reply)) = self.rows.pop_front() else { break };
            self.places.remove(&id);
            self.gone += 1;
            self.held -= reply.map_or(0, |reply| reply.len());
            self.replied = self.replied.saturating_sub(1);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::id::ClientId;
    use crate::wire;

    fn id(number: u64) -> ProposalId {
        ProposalId::new(ClientId::anonymous(number % 7), number)
    }

    fn filled(count: u64, reply: usize) -> Recent {
        let mut recent = Recent::default();
        for number in 1..=count {
            recent.record(id(number), Slot(number), &Bytes::from(alloc::vec![1; reply]));
        }
        recent
    }

    #[test]
    fn the_oldest_are_let_go_first_their_replies_before_them() {
        let most = MAX_RECENT as u64;
        let recent = filled(most + 2, 10);
        assert_eq!([1, 2].map(|number| recent.get(id(number))), [None, None]);
        assert_eq!(recent.get(id(3)), Some((Slot(3), Some(&Bytes::from_static(&[1; 10])))));
        let recent = filled(5, MAX_RECENT_BYTES / 3);
        let has_reply = |number| recent.get(id(number)).map(|(_, reply)| reply.is_some());
        assert_eq!([1, 2, 3, 4, 5].map(has_reply), [false, false, true, true, true].map(Some));
        // A reply of its own size leaves at once, and nothing is left over to count.
        let recent = filled(2, MAX_RECENT_BYTES + 1);
        assert_eq!((recent.get(id(2)), recent.held), (Some((Slot(2), None)), 0));
    }

    #[test]
    fn a_table_travels_as_it_is_and_goes_on_alike() {
        let mut recent = filled(MAX_RECENT as u64, 300);
        let mut copy: Recent = wire::decode(&wire::encode(&recent), usize::MAX).unwrap();
        for number in 0..100 {
            assert_eq!(copy, recent);
            for table in [&mut recent, &mut copy] {
                let number = MAX_RECENT as u64 + 1 + number;
                table.record(id(number), Slot(number), &Bytes::from_static(b"reply"));
            }
        }
    }

    #[test]
    fn what_no_replica_produces_is_refused() {
        let row = |number: u64, reply: Option<&'static [u8]>| {
            (id(number), Slot(number), reply.map(Bytes::from_static))
        };
        let is_sound = |rows: &[Row]| wire::decode::<Recent>(&wire::encode(&rows), usize::MAX).is_ok();
        assert!(is_sound(&[row(1, None), row(2, Some(b"x"))]));
        assert!(!is_sound(&[row(1, Some(b"x")), row(2, None)]), "a younger one without a reply");
        assert!(!is_sound(&[row(2, None), row(1, None)]), "slots fall");
        assert!(!is_sound(&[row(1, None), (id(1), Slot(2), None)]), "one twice");
        static LONG: [u8; MAX_RECENT_BYTES + 1] = [0; MAX_RECENT_BYTES + 1];
        assert!(!is_sound(&[row(1, Some(&LONG))]), "too much");
        let many: Vec<Row> = (1..=MAX_RECENT as u64 + 1).map(|number| row(number, None)).collect();
        assert!(!is_sound(&many), "too many");
    }
}
