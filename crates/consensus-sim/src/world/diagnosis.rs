//! Why a world makes no progress: what stands in the way, in the order in which one would look.
//!
//! What is looked at is gathered as plain data first, so that each finding can be tested by itself.

use super::World;
use consensus_core::{ConsensusAlgorithm, Epoch, NodeId, Refusal, Role, Slot, Status};
use core::fmt;

/// One node, seen from outside.
#[derive(Clone, Debug)]
pub(super) struct Patient {
    pub(super) id: NodeId,
    /// What it says of itself; `None`: it does not run.
    pub(super) status: Option<Status>,
    /// It stands still.
    pub(super) paused: bool,
    /// Its disk is damaged, or failed.
    pub(super) bad_disk: bool,
    pub(super) applied: Slot,
    /// Records that wait for its disk.
    pub(super) writes: usize,
    /// Proposals and reads that it has taken and not answered.
    pub(super) proposals: usize,
    pub(super) reads: usize,
    /// Whom it hears and is heard by, itself not among them.
    pub(super) linked: Vec<NodeId>,
}

/// A client that waits, and what it was told last.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) client: u32,
    pub(super) target: NodeId,
    pub(super) refused: Option<Refusal>,
}

/// What stands in the way of progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    TooFewRun { running: usize, needed: usize },
    BadDisk { node: NodeId },
    NoConnectedQuorum { best: Option<NodeId>, linked: usize, needed: usize },
    NoLeader { highest: Epoch, candidates: Vec<NodeId> },
    LeaderWithoutQuorum { leader: NodeId, linked: usize, needed: usize },
    ManyLeaders { leaders: Vec<(NodeId, Epoch)> },
    NotFollowed { leader: NodeId, by: Vec<NodeId> },
    WaitsForDisk { node: NodeId, writes: usize },
    Blocked { node: NodeId, proposals: usize, on: Vec<NodeId> },
    QueueFull { node: NodeId, clients: Vec<u32> },
    TurnedAway { client: u32, node: NodeId, reason: Refusal },
    Undecided { leader: NodeId, proposals: usize, reads: usize },
    Behind { node: NodeId, applied: Slot, decided: Slot },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewRun { running, needed } => {
                write!(f, "only {running} nodes run, and {needed} are needed")
            }
            Self::BadDisk { node } => write!(f, "the disk of {node} failed"),
            Self::NoConnectedQuorum { best: Some(best), linked, needed } => {
                write!(
                    f,
                    "no quorum is connected: {best} has links to {linked}, and {needed} others are needed"
                )
            }
            Self::NoConnectedQuorum { best: None, .. } => write!(f, "no node runs"),
            Self::NoLeader { highest, candidates } if candidates.is_empty() => {
                write!(f, "no leader, and nobody seeks to become one (up to {highest})")
            }
            Self::NoLeader { highest, candidates } => {
                write!(f, "no leader (up to {highest}); candidates: {candidates:?}")
            }
            Self::LeaderWithoutQuorum { leader, linked, needed } => {
                write!(f, "{leader} leads, but has links to {linked} only, and {needed} others are needed")
            }
            Self::ManyLeaders { leaders } => write!(f, "several lead: {leaders:?}"),
            Self::NotFollowed { leader, by } => write!(f, "{leader} leads, and is not followed by {by:?}"),
            Self::WaitsForDisk { node, writes } => {
                write!(f, "{node} waits for its disk, with {writes} records")
            }
            Self::Blocked { node, proposals, on } => {
                write!(f, "{node} has {proposals} proposals blocked on {on:?}")
            }
            Self::QueueFull { node, clients } => {
                write!(f, "the queue of {node} is full for clients {clients:?}")
            }
            Self::TurnedAway { client, node, reason } => {
                write!(f, "client {client} was told by {node}: {reason}")
            }
            Self::Undecided { leader, proposals, reads } => {
                write!(
                    f,
                    "{leader} leads a connected quorum, and has not answered {proposals} proposals and {reads} reads"
                )
            }
            Self::Behind { node, applied, decided } => write!(f, "{node} has applied {applied} of {decided}"),
        }
    }
}

/// All that stands in the way, the gravest first. `needed` nodes suffice; `decided` is the last slot that anybody applied.
pub(super) fn diagnose(
    patients: &[Patient],
    waiting: &[Waiting],
    needed: usize,
    decided: Slot,
) -> Vec<Obstacle> {
    let mut found: Vec<Obstacle> = Vec::new();
    let runs = |patient: &&Patient| patient.status.is_some() && !patient.paused;
    let running = patients.iter().filter(runs).count();
    if running < needed {
        found.push(Obstacle::TooFewRun { running, needed });
    }
    found.extend(
        patients
            .iter()
            .filter(|patient| patient.bad_disk)
            .map(|patient| Obstacle::BadDisk { node: patient.id }),
    );
    let is_live = |id: &NodeId| patients.iter().filter(runs).any(|patient| patient.id == *id);
    let linked = |patient: &Patient| patient.linked.iter().filter(|id| is_live(id)).count();
    let others = needed.saturating_sub(1);
    let best = patients.iter().filter(runs).max_by_key(|patient| linked(patient));
    if best.is_none_or(|patient| linked(patient) < others) {
        let linked = best.map_or(0, linked);
        found.push(Obstacle::NoConnectedQuorum {
            best: best.map(|patient| patient.id),
            linked,
            needed: others,
        });
    }
    found.extend(of_leaders(patients, linked, others));
    for patient in patients.iter().filter(runs) {
        if patient.writes > 0 {
            found.push(Obstacle::WaitsForDisk { node: patient.id, writes: patient.writes });
        }
        let blocked = patient.status.as_ref().map(|status| status.blocked.as_slice()).unwrap_or_default();
        if let Some((_, on)) = blocked.first() {
            found.push(Obstacle::Blocked { node: patient.id, proposals: blocked.len(), on: on.clone() });
        }
        if patient.applied < decided {
            found.push(Obstacle::Behind { node: patient.id, applied: patient.applied, decided });
        }
    }
    found.extend(of_clients(waiting));
    found
}

fn of_leaders(patients: &[Patient], linked: impl Fn(&Patient) -> usize, needed: usize) -> Vec<Obstacle> {
    let with_status = || {
        patients
            .iter()
            .filter(|patient| !patient.paused)
            .filter_map(|patient| Some((patient, patient.status.as_ref()?)))
    };
    let in_role = |role: Role| with_status().filter(move |(_, status)| status.role == role);
    let leaders: Vec<(&Patient, Epoch)> =
        in_role(Role::Leader).map(|(patient, status)| (patient, status.epoch)).collect();
    let mut found = Vec::new();
    if leaders.is_empty() && with_status().any(|(_, status)| status.role != Role::Peer) {
        let highest = with_status().map(|(_, status)| status.epoch).max().unwrap_or_default();
        found.push(Obstacle::NoLeader {
            highest,
            candidates: in_role(Role::Candidate).map(|(patient, _)| patient.id).collect(),
        });
    }
    if leaders.len() > 1 {
        let leaders = leaders.iter().map(|&(patient, epoch)| (patient.id, epoch)).collect();
        found.push(Obstacle::ManyLeaders { leaders });
    }
    // An earlier leader may not know yet that it was replaced.
    let Some(&(leader, _)) = leaders.iter().max_by_key(|(_, epoch)| *epoch) else { return found };
    if linked(leader) < needed {
        found.push(Obstacle::LeaderWithoutQuorum { leader: leader.id, linked: linked(leader), needed });
        return found;
    }
    let astray = |status: &Status| status.role != Role::Leader && status.leader != Some(leader.id);
    let by: Vec<NodeId> =
        with_status().filter(|(_, status)| astray(status)).map(|(patient, _)| patient.id).collect();
    if !by.is_empty() {
        found.push(Obstacle::NotFollowed { leader: leader.id, by });
    }
    if leader.proposals + leader.reads > 0 {
        found.push(Obstacle::Undecided {
            leader: leader.id,
            proposals: leader.proposals,
            reads: leader.reads,
        });
    }
    found
}

fn of_clients(waiting: &[Waiting]) -> Vec<Obstacle> {
    let mut found: Vec<Obstacle> = Vec::new();
    for Waiting { client, target, refused } in waiting {
        match refused {
            Some(Refusal::Busy) => {
                let known = found.iter_mut().find_map(|obstacle| {
                    let Obstacle::QueueFull { node, clients } = obstacle else { return None };
                    (node == target).then_some(clients)
                });
                match known {
                    Some(clients) => clients.push(*client),
                    None => found.push(Obstacle::QueueFull { node: *target, clients: vec![*client] }),
                }
            }
            Some(reason) => {
                found.push(Obstacle::TurnedAway { client: *client, node: *target, reason: reason.clone() });
            }
            None => {}
        }
    }
    found
}

impl<A: ConsensusAlgorithm> World<A> {
    /// Why clients are not served, or nodes not brought up to date, for a person.
    pub(super) fn why_not(&mut self) -> String {
        let patients: Vec<Patient> = (0..self.hosts.len()).filter_map(|index| self.examine(index)).collect();
        let refused = |client: &crate::client::Client| Waiting {
            client: client.number,
            target: crate::record::node(client.target),
            refused: client.refused.clone(),
        };
        let waiting: Vec<Waiting> =
            self.clients.iter().filter(|client| client.errand.is_some()).map(refused).collect();
        let mut lines: Vec<String> = diagnose(&patients, &waiting, self.sufficient(), self.oracle.last())
            .iter()
            .map(ToString::to_string)
            .collect();
        if lines.is_empty() {
            lines.push("nothing that can be seen from outside stands in the way".into());
        }
        lines.extend(self.hosts.iter_mut().map(super::host::Host::describe));
        lines.join("; ")
    }

    fn examine(&mut self, index: usize) -> Option<Patient> {
        let nodes = self.hosts.len();
        let hears =
            |from: usize, to: usize| !self.links.is_cut(from, to) && self.links.hops(from, to).is_some();
        let linked = (0..nodes).filter(|&other| other != index && hears(other, index) && hears(index, other));
        let linked = linked.map(crate::record::node).collect();
        let host = self.hosts.get_mut(index)?;
        let (proposals, reads) = host.unanswered();
        let (status, applied) = (host.status(), host.applied().unwrap_or_default());
        Some(Patient {
            id: host.id,
            status,
            paused: host.paused.is_some(),
            bad_disk: host.bad_disk || host.platter.disk().has_fired(),
            applied,
            writes: host.node.as_mut().map_or(0, |node| node.storage().waiting()),
            proposals,
            reads,
            linked,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus_core::Members;

    fn status(id: u64, role: Role, epoch: u64, leader: Option<u64>) -> Status {
        Status {
            role,
            leader: leader.or((role == Role::Leader).then_some(id)).map(NodeId),
            epoch: Epoch(epoch),
            decided: Slot(9),
            members: Members::of((1..=3).map(NodeId)),
            blocked: Vec::new(),
        }
    }

    fn patient(id: u64, role: Role, epoch: u64, leader: Option<u64>) -> Patient {
        Patient {
            id: NodeId(id),
            status: Some(status(id, role, epoch, leader)),
            paused: false,
            bad_disk: false,
            applied: Slot(9),
            writes: 0,
            proposals: 0,
            reads: 0,
            linked: (1..=3).filter(|&other| other != id).map(NodeId).collect(),
        }
    }

    fn healthy() -> [Patient; 3] {
        [
            patient(1, Role::Leader, 4, None),
            patient(2, Role::Follower, 4, Some(1)),
            patient(3, Role::Follower, 4, Some(1)),
        ]
    }

    fn said(patients: &[Patient], waiting: &[Waiting]) -> Vec<String> {
        diagnose(patients, waiting, 2, Slot(9)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_healthy_have_no_obstacle() {
        assert_eq!(said(&healthy(), &[]), Vec::<String>::new());
    }

    #[test]
    fn nodes_that_do_not_run_and_their_disks_are_named() {
        let mut patients = healthy();
        for patient in &mut patients[1..] {
            patient.status = None;
        }
        patients[2].bad_disk = true;
        let said = said(&patients, &[]);
        assert_eq!(said[..2], ["only 1 nodes run, and 2 are needed", "the disk of n3 failed"]);
        assert_eq!(said[2], "no quorum is connected: n1 has links to 0, and 1 others are needed");
        assert!(said[3].starts_with("n1 leads, but has links to 0 only"), "{said:?}");
    }

    #[test]
    fn a_node_that_stands_still_does_not_count() {
        let mut patients = healthy();
        (patients[0].paused, patients[1].paused) = (true, true);
        let said = said(&patients, &[]);
        assert_eq!(said[0], "only 1 nodes run, and 2 are needed");
        assert_eq!(
            said.last().map(String::as_str),
            Some("no leader, and nobody seeks to become one (up to e4)")
        );
    }

    #[test]
    fn a_missing_a_helpless_and_a_second_leader_are_told_apart() {
        let none = [
            patient(1, Role::Candidate, 7, None),
            patient(2, Role::Follower, 6, None),
            patient(3, Role::Follower, 4, None),
        ];
        assert_eq!(said(&none, &[]), ["no leader (up to e7); candidates: [n1]"]);
        let mut helpless = healthy();
        helpless[0].linked.clear();
        assert_eq!(said(&helpless, &[]), ["n1 leads, but has links to 0 only, and 1 others are needed"]);
        let two = [
            patient(1, Role::Leader, 4, None),
            patient(2, Role::Leader, 5, None),
            patient(3, Role::Follower, 5, Some(2)),
        ];
        assert_eq!(said(&two, &[]), ["several lead: [(n1, e4), (n2, e5)]"]);
        let mut astray = healthy();
        astray[2] = patient(3, Role::Follower, 4, None);
        assert_eq!(said(&astray, &[]), ["n1 leads, and is not followed by [n3]"]);
        let peers = [1, 2, 3].map(|id| patient(id, Role::Peer, 1, None));
        assert_eq!(said(&peers, &[]), Vec::<String>::new(), "nobody leads among equals");
    }

    #[test]
    fn whatever_is_waited_for_is_named() {
        let mut patients = healthy();
        (patients[0].writes, patients[0].proposals, patients[2].applied) = (3, 5, Slot(4));
        if let Some(status) = &mut patients[1].status {
            status.blocked = vec![(consensus_core::ProposalId::open_session(1), vec![NodeId(3)])];
        }
        let waiting = |client, refused| Waiting { client, target: NodeId(1), refused };
        let waiting = [
            waiting(0, Some(Refusal::Busy)),
            waiting(1, None),
            waiting(2, Some(Refusal::Busy)),
            waiting(3, Some(Refusal::NotMember)),
        ];
        assert_eq!(
            said(&patients, &waiting),
            [
                "n1 leads a connected quorum, and has not answered 5 proposals and 0 reads",
                "n1 waits for its disk, with 3 records",
                "n2 has 1 proposals blocked on [n3]",
                "n3 has applied s4 of s9",
                "the queue of n1 is full for clients [0, 2]",
                "client 3 was told by n1: this node is not a member",
            ]
        );
    }
}
