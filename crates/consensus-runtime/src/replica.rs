//! One group alone: on a host of its own, or in memory.

use crate::clock::Clock;
use crate::config::{ReplicaConfig, StartError};
use crate::handle::Handle;
use crate::host::Host;
use crate::lane::{Board, Lane};
use crate::local::{LocalNetwork, LocalShore};
use crate::shared::StopReason;
use crate::{Runnable, group};
use consensus_core::StateMachine;
use consensus_core::memory::MemoryStorage;
use consensus_wal::Disk;
use std::sync::Arc;
use std::time::Duration;

/// One member of one group, on real sockets and a real disk: the shortest way to a [`Host`] with one group.
#[derive(Debug)]
pub struct Replica;

impl Replica {
    /// Opens the journal, listens for peers, and runs `machine` under `A` until it is told to stop or cannot go on. Call it
    /// within a tokio runtime that has its I/O and its timers enabled.
    ///
    /// # Errors
    /// The configuration cannot work, the address is taken, or the data directory is damaged, locked or somebody else's.
    pub async fn start<A, M>(config: ReplicaConfig<A>, machine: M) -> Result<Handle<A>, StartError>
    where
        A: Runnable,
        M: StateMachine + Send + 'static,
    {
        config.validate()?;
        Self::start_alone(Host::open(config.host()).await?, config, machine).await
    }

    /// [`Replica::start`] on a disk of the caller's own, for tests of what a failing disk does.
    ///
    /// # Errors
    /// As [`Replica::start`].
    pub async fn start_on<A, D, M>(
        config: ReplicaConfig<A>,
        disk: D,
        machine: M,
    ) -> Result<Handle<A>, StartError>
    where
        A: Runnable,
        D: Disk + Send + 'static,
        D::File: Send,
        M: StateMachine + Send + 'static,
    {
        config.validate()?;
        Self::start_alone(Host::open_on(config.host(), disk).await?, config, machine).await
    }

    async fn start_alone<A, M>(
        host: Host,
        config: ReplicaConfig<A>,
        machine: M,
    ) -> Result<Handle<A>, StartError>
    where
        A: Runnable,
        M: StateMachine + Send + 'static,
    {
        let started = match refuse_strays(&host, &config) {
            Ok(()) => host.start(config.group(), machine, true).await,
            Err(error) => Err(error),
        };
        let Err(error) = started else { return started };
        // The caller may try again at once: the directory and the port must be free.
        match host.shutdown().await {
            // A peer was quicker to say so than the group to start.
            StopReason::Removed => Err(StartError::Removed { node: config.node, data_dir: config.data_dir }),
            StopReason::Shutdown | StopReason::Killed | StopReason::Failed(_) => Err(error),
        }
    }

    /// [`Replica::start`] without sockets and without a disk: the replicas that were started on the same `network` hand each
    /// other their messages, and what they write is in their memory. For the tests of a service and for measurements: a
    /// node that has ended cannot be started again there, and the group is gone with the process. `config.listen`,
    /// `config.data_dir` and the addresses of the members are not used ([`ReplicaConfig::local`] leaves them out).
    ///
    /// # Errors
    /// The configuration cannot work, or the node was started on this network before.
    pub async fn start_local<A, M>(
        config: ReplicaConfig<A>,
        network: &LocalNetwork<A>,
        machine: M,
    ) -> Result<Handle<A>, StartError>
    where
        A: Runnable,
        M: StateMachine + Send + 'static,
    {
        config.validate()?;
        let (clock, board, group) = (Clock::start(), Arc::<Board>::default(), config.group());
        let birth = group.members.clone();
        let mailbox = group::new_mailbox(&group, config.node, birth.clone(), &board);
        let shared = Arc::clone(&mailbox.shared);
        let links = network.links(&config, Arc::clone(&shared));
        let storage = MemoryStorage::default();
        let driver = group::open_driver(&group, birth, &mailbox, clock, links, storage, machine).await?;
        network.join(&config, &mailbox)?;
        network.announce(&config, &mailbox);
        tracing::info!(node = %config.node, group = %config.group, algorithm = A::NAME, "replica started in memory");
        let lane = Lane::new(Arc::clone(&board), clock, Duration::ZERO, LocalShore, Arc::default());
        tokio::spawn(lane.run());
        let network = network.clone();
        let ended = Arc::clone(&shared);
        shared.bell.move_in(
            Box::new(driver),
            Box::new(move |reason| {
                network.leave(&config);
                board.close();
                tracing::info!(node = %ended.node, %reason, "replica stopped");
                ended.end.complete(reason);
            }),
        );
        Ok(group::new_handle(&group, mailbox, None))
    }
}

/// A directory with groups that nobody will start: they would be forgotten.
fn refuse_strays<A: Runnable>(host: &Host, config: &ReplicaConfig<A>) -> Result<(), StartError> {
    let stray = host.recovered_groups().into_iter().find(|recovered| recovered.group != config.group);
    stray.map_or(Ok(()), |stray| {
        let (directory, group) = (config.data_dir.display(), config.group);
        let problem = format!(
            "{directory} holds group {}, and this replica is of group {group}: start it with that group, or give this one its own directory",
            stray.group
        );
        Err(StartError::Config { field: "group", problem })
    })
}
