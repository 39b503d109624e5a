//! How much of what a connection brought may wait to be handled, and how much of that may be one group's.
//!
//! The rule is that of shared buffers in switches: a group may hold as much as it leaves free. So one group alone gets half of
//! all; with many busy ones each gets an equal share, and as much again is free for those that have nothing waiting yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// How long a connection waits for one group before it drops what it brings for it. The others on it wait as long, once.
const PATIENCE: Duration = Duration::from_millis(100);

/// What may wait of one connection, in bytes (or in frames, where nothing is encoded).
#[derive(Debug)]
pub(crate) struct Credit {
    most: usize,
    used: AtomicUsize,
    given_back: Notify,
}

/// One group's part in it.
#[derive(Debug, Default)]
pub(crate) struct Account {
    used: Arc<AtomicUsize>,
    /// It was waited for in vain; what comes for it is dropped at once until it has taken half of what it holds.
    stuck_at: Option<usize>,
}

/// What waits. Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    credit: Arc<Credit>,
    account: Arc<AtomicUsize>,
    amount: usize,
}

impl Credit {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, used: AtomicUsize::new(0), given_back: Notify::new() })
    }

    /// Takes `amount` for a group, or `None` if that is more than its part at the moment. Somebody who holds nothing gets half
    /// of all at most, whatever it asks for.
    pub(crate) fn hold(self: &Arc<Self>, account: &Account, amount: usize) -> Option<Held> {
        if !self.has_room(account, amount) {
            return None;
        }
        let amount = self.capped(amount);
        self.used.fetch_add(amount, Ordering::AcqRel);
        account.used.fetch_add(amount, Ordering::AcqRel);
        Some(Held { credit: Arc::clone(self), account: Arc::clone(&account.used), amount })
    }

    /// Whether [`Credit::hold`] would succeed.
    pub(crate) fn has_room(&self, account: &Account, amount: usize) -> bool {
        let free = self.most.saturating_sub(self.used.load(Ordering::Acquire));
        account.used.load(Ordering::Acquire) + self.capped(amount) <= free
    }

    fn capped(&self, amount: usize) -> usize {
        amount.min(self.most.div_ceil(2))
    }

    /// [`Credit::hold`], with some patience. `None` if the group does not handle what it has.
    pub(crate) async fn await_hold(self: &Arc<Self>, account: &mut Account, amount: usize) -> Option<Held> {
        let used = account.used.load(Ordering::Acquire);
        if account.stuck_at.is_some_and(|stuck| used > stuck / 2) {
            return None;
        }
        account.stuck_at = None;
        if let Some(held) = self.hold(account, amount) {
            return Some(held);
        }
        let room = async {
            loop {
                let given_back = self.given_back.notified();
                if let Some(held) = self.hold(account, amount) {
                    return held;
                }
                given_back.await;
            }
        };
        let held = tokio::time::timeout(PATIENCE, room).await.ok();
        if held.is_none() {
            account.stuck_at = Some(account.used.load(Ordering::Acquire));
        }
        held
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.account.fetch_sub(self.amount, Ordering::AcqRel);
        self.credit.used.fetch_sub(self.amount, Ordering::AcqRel);
        self.credit.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_holds_no_more_than_it_leaves_free() {
        let credit = Credit::new(100);
        let (busy, late) = (Account::default(), Account::default());
        let mut held: Vec<_> = std::iter::from_fn(|| credit.hold(&busy, 10)).collect();
        assert_eq!(held.len(), 5, "half for one alone");
        held.extend(std::iter::from_fn(|| credit.hold(&late, 10)));
        assert_eq!(held.len(), 8, "of what is left a second one gets its half too, but for the last piece");
        assert!(
            credit.hold(&Account::default(), 20).is_some(),
            "and there is room for somebody who has nothing yet"
        );
        drop(held);
        assert!(
            credit.hold(&busy, 1_000).is_some(),
            "all was given back, and nobody waits for more than there is"
        );
    }

    #[tokio::test]
    async fn who_does_not_take_what_it_has_is_waited_for_once() {
        let credit = Credit::new(100);
        let mut account = Account::default();
        let mut held: Vec<_> = std::iter::from_fn(|| credit.hold(&account, 10)).collect();
        let began = tokio::time::Instant::now();
        for _ in 0..3 {
            assert!(credit.await_hold(&mut account, 10).await.is_none());
        }
        let waited = began.elapsed();
        assert!(waited >= PATIENCE && waited < 2 * PATIENCE, "once, and not each time: {waited:?}");
        held.truncate(2);
        assert!(credit.await_hold(&mut account, 10).await.is_some());
    }

    #[tokio::test]
    async fn room_that_is_given_back_in_time_is_taken() {
        let credit = Credit::new(100);
        let mut account = Account::default();
        let mut held: Vec<_> = std::iter::from_fn(|| credit.hold(&account, 10)).collect();
        let later = tokio::spawn(async move {
            tokio::time::sleep(PATIENCE / 2).await;
            held.pop();
            held
        });
        assert!(credit.await_hold(&mut account, 10).await.is_some());
        assert_eq!(later.await.unwrap().len(), 4);
    }
}
