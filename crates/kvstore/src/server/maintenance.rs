//! The operator's calls.

use super::Api;
use crate::error::ApiError;
use crate::proto::etcdserverpb::alarm_request::AlarmAction;
use crate::proto::etcdserverpb::maintenance_server::Maintenance;
use crate::proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, AlarmType, DefragmentRequest, DefragmentResponse,
    HashKvRequest, HashKvResponse, HashRequest, HashResponse, MoveLeaderRequest, MoveLeaderResponse,
    SnapshotRequest, SnapshotResponse, StatusRequest, StatusResponse,
};
use consensus_core::{NodeId, Role};
use tonic::{Request, Response, Status};

/// The version of the protocol that clients may count on. They parse it; it is not this program's version.
pub(super) const PROTOCOL_VERSION: &str = "3.4.0";

#[tonic::async_trait]
impl Maintenance for Api {
    async fn alarm(&self, request: Request<AlarmRequest>) -> Result<Response<AlarmResponse>, Status> {
        let request = request.into_inner();
        match request.action() {
            AlarmAction::Get => {}
            AlarmAction::Activate | AlarmAction::Deactivate => {
                let text = "kvstore: alarms cannot be set or cleared: NOSPACE goes when the store is below its quota";
                return Err(Status::unimplemented(text));
            }
        }
        Ok(Response::new(AlarmResponse { header: self.header(None), alarms: self.alarms() }))
    }

    async fn status(&self, _request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let status = self.0.group.status();
        let size = i64::try_from(self.0.store.read().size_bytes()).unwrap_or(i64::MAX);
        let mut errors = Vec::new();
        if status.leader.is_none() && status.role != Role::Peer {
            errors.push(ApiError::NoLeader.to_string());
        }
        if self.is_over_quota() {
            errors.push(format!("memberID:{} alarm:NOSPACE ", self.0.config.member.0));
        }
        Ok(Response::new(StatusResponse {
            header: self.header(None),
            version: PROTOCOL_VERSION.into(),
            db_size: size,
            leader: status.leader.map_or(0, |leader| leader.0),
            raft_index: status.decided.0,
            raft_term: status.epoch.0,
            raft_applied_index: self.0.group.applied().0,
            errors,
            db_size_in_use: size,
            is_learner: status.role == Role::Learner,
        }))
    }

    async fn defragment(
        &self,
        _request: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        Err(Status::unimplemented("kvstore: there is nothing to defragment: the store is in memory"))
    }

    async fn hash(&self, _request: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.0.store.read().hash(i64::MAX));
        hasher.update(&self.0.council.table().encode());
        let hash = hasher.finalize();
        Ok(Response::new(HashResponse { header: self.header(None), hash }))
    }

    async fn hash_kv(&self, request: Request<HashKvRequest>) -> Result<Response<HashKvResponse>, Status> {
        let asked = request.into_inner().revision;
        let (hash, compact_revision) = {
            let store = self.0.store.read();
            store.check_revision(asked).map_err(ApiError::from)?;
            let revision = if asked > 0 { asked } else { store.revision() };
            (store.hash(revision), store.compact_revision())
        };
        Ok(Response::new(HashKvResponse { header: self.header(None), hash, compact_revision }))
    }

    type SnapshotStream = tokio_stream::Empty<Result<SnapshotResponse, Status>>;

    async fn snapshot(
        &self,
        _request: Request<SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(Status::unimplemented("kvstore: snapshots cannot be taken by clients yet"))
    }

    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        self.hand_over(NodeId(request.into_inner().target_id)).await?;
        Ok(Response::new(MoveLeaderResponse { header: self.header(None) }))
    }
}

impl Api {
    /// Has `to` lead; only the leader can do that.
    async fn hand_over(&self, to: NodeId) -> Result<(), ApiError> {
        let status = self.0.group.status();
        if status.leader != Some(self.0.config.member) {
            return Err(ApiError::NotLeader);
        }
        if !status.members.is_voter(to) {
            return Err(ApiError::BadTransferee);
        }
        match tokio::time::timeout(self.0.config.transfer_timeout, self.0.group.transfer(Some(to))).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(ApiError::TransferTimeout),
        }
    }

    fn alarms(&self) -> Vec<AlarmMember> {
        let nospace = AlarmMember { member_id: self.0.config.member.0, alarm: AlarmType::Nospace.into() };
        if self.is_over_quota() { vec![nospace] } else { Vec::new() }
    }
}
