//! How a process with an empty data directory becomes a member: it asks one that runs, through the port for peers, which is all
//! that it knows of the cluster.
//!
//! Two may ask. A *newcomer* that was added claims its id: the first data directory that does so has it for ever, since another
//! one, begun in its place, would not know what the first has promised. A *founder* asks whether it has been there before: then
//! its directory was lost, and it must not begin again as if nothing had been.

use crate::members::MemberTable;
use consensus_core::wire;
use consensus_core::{ClusterId, NodeId};
use consensus_runtime::{EnquiryError, PeerAddress, enquire};
use futures::future::join_all;
use rand::TryRng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// The longest question or answer, in bytes.
const MAX_BYTES: usize = 128 << 10;
/// For how long a newcomer asks until somebody knows of it: who added it may have been told before all others were.
const PATIENCE: Duration = Duration::from_secs(8);
const RETRY: Duration = Duration::from_millis(200);
/// For how long a founder waits for others to tell it that it has been there before. At the birth of a cluster they are not
/// there yet.
const FOUNDER_PATIENCE: Duration = Duration::from_secs(1);

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Question {
    /// "I was added, and listen here: who am I?"
    Claim { id: Option<NodeId>, peer: PeerAddress, incarnation: u64 },
    /// "I am one of the founders, and my directory is empty: may I begin?"
    Begin { id: NodeId },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// Who the newcomer is, and where the others listen.
    Welcome { id: NodeId, addresses: BTreeMap<NodeId, Vec<PeerAddress>> },
    /// The founder may begin.
    Begin,
    /// Nobody of that description was added, as far as is known here.
    Unknown,
    /// It was removed.
    Removed,
    /// Another data directory has the id.
    Claimed,
    /// That cannot be told at the moment.
    Later,
}

impl Question {
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        wire::decode(bytes, MAX_BYTES).ok()
    }
}

/// Whether a founder may begin, as far as this table tells.
pub(crate) fn may_begin(table: &MemberTable, id: NodeId) -> Answer {
    if table.has_removed(id) {
        return Answer::Removed;
    }
    match table.row(id) {
        Some(row) if row.incarnation > 0 => Answer::Claimed,
        Some(_) | None => Answer::Begin,
    }
}

/// Why a process does not become a member.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The addresses are those of another cluster.
    #[error("{0}")]
    Cluster(EnquiryError),
    /// Nobody can be asked.
    #[error("no member of the cluster answers: {0}")]
    Unanswered(String),
    /// It was not added.
    #[error(
        "the cluster knows no newcomer that listens for peers at {peer}: add it first \
         (etcdctl member add NAME --peer-urls=http://{peer}), and start it with that address"
    )]
    NotAdded {
        /// Where it listens.
        peer: PeerAddress,
    },
    /// It was removed.
    #[error(
        "member {id} was removed from the cluster: add a new member (etcdctl member add), and join as that one"
    )]
    Removed {
        /// Who.
        id: NodeId,
    },
    /// Another data directory has the id.
    #[error(
        "{who} has been started before, with another data directory: bring that back; or, if it is lost, remove the member \
         (etcdctl member remove), add a new one, and join as that one"
    )]
    Claimed {
        /// Who.
        who: String,
    },
    /// The data directory cannot be used.
    #[error("{}: {cause}", place.display())]
    Io {
        /// The file.
        place: PathBuf,
        /// What is wrong.
        cause: io::Error,
    },
}

/// What a newcomer was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Who it is.
    pub id: NodeId,
    /// Where it and the others listen.
    pub addresses: BTreeMap<NodeId, Vec<PeerAddress>>,
    /// Which of all who may come under this id.
    pub incarnation: u64,
}

/// Asks the members at `asked`, again and again for a while, who the newcomer is that listens for peers at `peer`, and claims
/// its id for the data directory.
///
/// # Errors
/// It was not added, was removed, has another data directory; or nobody answers.
pub async fn join(
    cluster: ClusterId,
    asked: &[PeerAddress],
    id: Option<NodeId>,
    peer: PeerAddress,
    data_dir: &Path,
) -> Result<Welcome, JoinError> {
    let incarnation = claim_of(data_dir)?;
    let question = Question::Claim { id, peer: peer.clone(), incarnation };
    let who = || match id {
        Some(id) => format!("member {id}"),
        None => format!("the member at {peer}"),
    };
    let until = Instant::now() + PATIENCE;
    let (mut unknown, mut silence) = (false, "nobody was named".to_owned());
    loop {
        for address in asked.iter().filter(|&address| *address != peer) {
            match ask(address, cluster, &question).await {
                Ok(Answer::Welcome { id, addresses }) => return Ok(Welcome { id, addresses, incarnation }),
                Ok(Answer::Removed) => return Err(JoinError::Removed { id: id.unwrap_or_default() }),
                Ok(Answer::Claimed) => return Err(JoinError::Claimed { who: who() }),
                Ok(Answer::Unknown) => unknown = true,
                Ok(Answer::Later | Answer::Begin) => {
                    silence = format!("{address} has no leader at the moment")
                }
                Err(error @ EnquiryError::Cluster { .. }) => return Err(JoinError::Cluster(error)),
                Err(error) => silence = error.to_string(),
            }
        }
        if Instant::now() >= until {
            return Err(if unknown { JoinError::NotAdded { peer } } else { JoinError::Unanswered(silence) });
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Asks the other founders whether a founder with an empty data directory may begin.
///
/// # Errors
/// It has been there before.
pub async fn may_found(cluster: ClusterId, others: &[PeerAddress], id: NodeId) -> Result<(), JoinError> {
    let question = Question::Begin { id };
    let asked = join_all(others.iter().map(|address| ask(address, cluster, &question)));
    // Nobody there to tell, or another cluster there: the replica will say what is wrong.
    let Ok(answers) = tokio::time::timeout(FOUNDER_PATIENCE, asked).await else { return Ok(()) };
    for answer in answers.into_iter().flatten() {
        match answer {
            Answer::Removed => return Err(JoinError::Removed { id }),
            Answer::Claimed => return Err(JoinError::Claimed { who: format!("member {id}") }),
            Answer::Begin | Answer::Later | Answer::Unknown | Answer::Welcome { .. } => {}
        }
    }
    Ok(())
}

async fn ask(address: &PeerAddress, cluster: ClusterId, question: &Question) -> Result<Answer, EnquiryError> {
    let answer = enquire(address, cluster, wire::encode(question).into()).await?;
    wire::decode(&answer, MAX_BYTES).map_err(|error| EnquiryError::Unanswered {
        address: address.clone(),
        cause: format!("its answer makes no sense ({error}): run the same release on all members"),
    })
}

/// The number with which this data directory claims an id. It is kept there before anybody is told, so that an attempt which
/// was cut short can be made again.
fn claim_of(data_dir: &Path) -> Result<u64, JoinError> {
    const HEAD: &str = "kvstore claim 1 ";
    let place = data_dir.join("claim");
    let failure = |cause: io::Error| JoinError::Io { place: place.clone(), cause };
    match fs::read_to_string(&place) {
        Ok(text) => {
            let number = text.strip_prefix(HEAD).and_then(|rest| rest.strip_suffix('\n'));
            let number = number.and_then(|digits| u64::from_str_radix(digits, 16).ok()).filter(|&n| n > 0);
            let damaged = "it is damaged: remove the directory, remove the member (etcdctl member remove), add a new one, and \
                           join as that one";
            number.ok_or_else(|| failure(io::Error::new(io::ErrorKind::InvalidData, damaged)))
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            let drawn =
                rand::rngs::SysRng.try_next_u64().map_err(|cause| failure(io::Error::other(cause)))?;
            let incarnation = drawn.max(1);
            keep(data_dir, &place, &format!("{HEAD}{incarnation:016x}\n")).map_err(failure)?;
            Ok(incarnation)
        }
        Err(cause) => Err(failure(cause)),
    }
}

fn keep(data_dir: &Path, place: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(data_dir)?;
    let draft = place.with_extension("new");
    let mut file = File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, place)?;
    File::open(data_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_claims_with_one_number_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (directory.path().join("a/b"), directory.path().join("c"));
        let claim = claim_of(&first).unwrap();
        assert_eq!(claim_of(&first).unwrap(), claim);
        assert_ne!(claim_of(&second).unwrap(), claim);
        for damage in [
            "",
            "kvstore claim 1 \n",
            "kvstore claim 1 0000000000000000\n",
            "kvstore claim 2 0000000000000001\n",
        ] {
            fs::write(second.join("claim"), damage).unwrap();
            let error = claim_of(&second).unwrap_err().to_string();
            assert!(error.contains("c/claim: it is damaged: remove the directory"), "{error}");
        }
    }
}
