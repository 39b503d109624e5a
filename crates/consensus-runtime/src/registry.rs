//! The groups of a host: which are on its disk, which run, and where what comes for them enters.
//!
//! Invariant: whoever holds a [`Claim`] is alone with that group until the claim is made good or dropped.

use crate::StartError;
use crate::contacts::Standing;
use crate::door::Door;
use crate::shared::StopReason;
use crate::title::{State, Title};
use consensus_core::{GroupId, NodeId};
use consensus_wal::RecoveredRaw;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The most groups of a host.
pub(crate) const MAX_GROUPS: usize = 1 << 16;

/// A group that is on the disk of a host and does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredGroup {
    /// The group.
    pub group: GroupId,
    /// The name of the algorithm that wrote it ([`consensus_core::ConsensusAlgorithm::NAME`]).
    pub algorithm: String,
}

#[derive(Default)]
pub(crate) struct Registry {
    groups: Mutex<Groups>,
    /// Rises whenever a door opens or closes.
    version: AtomicU64,
    /// How many groups run, start, or are being removed.
    claimed: watch::Sender<usize>,
}

#[derive(Default)]
struct Groups {
    places: BTreeMap<GroupId, Place>,
    /// No group may start any more.
    closed: bool,
}

enum Place {
    /// On the disk, and read when the journal was opened.
    Recovered { title: Title, records: RecoveredRaw },
    /// On the disk.
    Resting { title: Title },
    /// Somebody starts or removes it.
    Claimed,
    /// It runs.
    Running(Arc<dyn Door>),
    /// It was here and never will be again.
    Removed,
}

/// The right to start or to remove a group. Dropped, it leaves the group where it was.
pub(crate) struct Claim {
    registry: Arc<Registry>,
    pub(crate) group: GroupId,
    /// The title of what is on the disk, if anything is.
    pub(crate) on_disk: Option<Title>,
    /// What is on the disk, if it was read already.
    pub(crate) records: Option<RecoveredRaw>,
    is_over: bool,
}

impl Registry {
    /// The groups that the journal held.
    pub(crate) fn of(recovered: BTreeMap<GroupId, RecoveredRaw>) -> Result<Self, StartError> {
        let mut places = BTreeMap::new();
        for (group, records) in recovered {
            let title = Title::of(group, &records)?;
            let place = match title.state {
                State::Alive => Place::Recovered { title, records },
                State::Removed => Place::Removed,
            };
            places.insert(group, place);
        }
        Ok(Self { groups: Mutex::new(Groups { places, closed: false }), ..Self::default() })
    }

    /// Those that are on the disk and do not run.
    pub(crate) fn resting(&self) -> Vec<RecoveredGroup> {
        let groups = self.lock();
        let resting = groups.places.iter().filter_map(|(&group, place)| match place {
            Place::Recovered { title, .. } | Place::Resting { title } => {
                Some(RecoveredGroup { group, algorithm: title.algorithm.clone() })
            }
            Place::Claimed | Place::Running(_) | Place::Removed => None,
        });
        resting.collect()
    }

    /// Takes a group that does not run.
    pub(crate) fn claim(self: &Arc<Self>, group: GroupId) -> Result<Claim, StartError> {
        let refuse = |problem: &str| Err(StartError::Group { group, problem: problem.into() });
        let mut groups = self.lock();
        if groups.closed {
            return refuse("the host is stopping");
        }
        if groups.places.len() >= MAX_GROUPS && !groups.places.contains_key(&group) {
            return refuse("the host has as many groups as a host can have");
        }
        let (on_disk, records) = match groups.places.remove(&group) {
            None => (None, None),
            Some(Place::Recovered { title, records }) => (Some(title), Some(records)),
            Some(Place::Resting { title }) => (Some(title), None),
            Some(place) => {
                let problem = match &place {
                    Place::Running(_) => "it runs here already",
                    Place::Removed => {
                        "it was removed from this node for good, and with it what this node promised in it: take another group id"
                    }
                    Place::Claimed | Place::Recovered { .. } | Place::Resting { .. } => {
                        "it is being started or removed"
                    }
                };
                groups.places.insert(group, place);
                return refuse(problem);
            }
        };
        groups.places.insert(group, Place::Claimed);
        self.claimed.send_modify(|count| *count += 1);
        Ok(Claim { registry: Arc::clone(self), group, on_disk, records, is_over: false })
    }

    /// The group no longer runs. `on_disk` is its title, if it wrote anything.
    pub(crate) fn rest(&self, group: GroupId, on_disk: Option<Title>) {
        let mut groups = self.lock();
        match on_disk {
            Some(title) => groups.places.insert(group, Place::Resting { title }),
            None => groups.places.remove(&group),
        };
        drop(groups);
        self.claimed.send_modify(|count| *count -= 1);
    }

    /// What comes for the group is dropped from now on.
    pub(crate) fn close_door(&self, group: GroupId) {
        self.lock().places.insert(group, Place::Claimed);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Where what comes for a group enters, if it runs.
    pub(crate) fn door(&self, group: GroupId) -> Option<Arc<dyn Door>> {
        match self.lock().places.get(&group) {
            Some(Place::Running(door)) => Some(Arc::clone(door)),
            Some(Place::Recovered { .. } | Place::Resting { .. } | Place::Claimed | Place::Removed)
            | None => None,
        }
    }

    /// The doors of all groups that run.
    pub(crate) fn doors(&self) -> Vec<Arc<dyn Door>> {
        let groups = self.lock();
        let doors = groups.places.values().filter_map(|place| match place {
            Place::Running(door) => Some(Arc::clone(door)),
            Place::Recovered { .. } | Place::Resting { .. } | Place::Claimed | Place::Removed => None,
        });
        doors.collect()
    }

    /// What the groups that run make of a node of which nobody else tells.
    pub(crate) fn standing(&self, node: NodeId) -> Standing {
        let groups = self.lock();
        let standings = groups.places.values().filter_map(|place| match place {
            Place::Running(door) => Some(door.standing(node)),
            Place::Recovered { .. } | Place::Resting { .. } | Place::Claimed | Place::Removed => None,
        });
        standings.max().unwrap_or(Standing::Stranger)
    }

    /// The groups that run.
    pub(crate) fn running(&self) -> Vec<GroupId> {
        let groups = self.lock();
        let running = groups.places.iter().filter(|(_, place)| matches!(place, Place::Running(_)));
        running.map(|(&group, _)| group).collect()
    }

    /// Two equal versions have the same doors.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Lets no group start any more, and asks those that run to stop.
    pub(crate) fn close(&self, reason: &StopReason) {
        self.lock().closed = true;
        for door in self.doors() {
            door.shared().ask_to_stop(reason.clone());
        }
    }

    /// Waits until no group runs.
    pub(crate) async fn empty(&self) {
        // `self` holds the sender, so the channel is open.
        drop(self.claimed.subscribe().wait_for(|count| *count == 0).await);
    }

    fn lock(&self) -> MutexGuard<'_, Groups> {
        // Nothing in a critical section can panic half-way through a change that matters.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// The group runs: what comes for it enters here, until [`Registry::rest`].
    ///
    /// # Errors
    /// The host is stopping meanwhile.
    pub(crate) fn open_door(mut self, door: Arc<dyn Door>) -> Result<(), StartError> {
        let group = self.group;
        let mut groups = self.registry.lock();
        if groups.closed {
            drop(groups);
            return Err(StartError::Group { group, problem: "the host is stopping".into() });
        }
        groups.places.insert(group, Place::Running(door));
        drop(groups);
        self.registry.version.fetch_add(1, Ordering::Release);
        self.is_over = true;
        Ok(())
    }

    /// The group was removed for good.
    pub(crate) fn bury(mut self) {
        self.registry.lock().places.insert(self.group, Place::Removed);
        self.registry.claimed.send_modify(|count| *count -= 1);
        self.is_over = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_over {
            self.registry.rest(self.group, self.on_disk.take());
        }
    }
}
