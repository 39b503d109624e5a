//! The members: who they are, and the operator's changes to them.

use super::Api;
use crate::error::ApiError;
use crate::members::addresses_of;
use crate::proto::etcdserverpb::cluster_server::Cluster;
use crate::proto::etcdserverpb::{
    MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse, MemberPromoteRequest,
    MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse, MemberUpdateRequest,
    MemberUpdateResponse,
};
use consensus_core::NodeId;
use consensus_runtime::PeerAddress;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Cluster for Api {
    async fn member_add(
        &self,
        request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        let MemberAddRequest { peer_ur_ls, is_learner } = request.into_inner();
        let peers = check_urls(&peer_ur_ls)?;
        let id = self.0.council.add(peers, !is_learner).await?;
        let members = self.0.council.table().list();
        let member = members.iter().find(|member| member.id == id.0).cloned();
        Ok(Response::new(MemberAddResponse { header: self.header(None), member, members }))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        self.0.council.remove(NodeId(request.into_inner().id)).await?;
        let members = self.0.council.table().list();
        Ok(Response::new(MemberRemoveResponse { header: self.header(None), members }))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        let MemberUpdateRequest { id, peer_ur_ls } = request.into_inner();
        self.0.council.relocate(NodeId(id), check_urls(&peer_ur_ls)?).await?;
        let members = self.0.council.table().list();
        Ok(Response::new(MemberUpdateResponse { header: self.header(None), members }))
    }

    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        // Older clients cannot ask for it, and look at one member's view.
        if request.into_inner().linearizable {
            self.barrier().await?;
        }
        let members = self.0.council.table().list();
        Ok(Response::new(MemberListResponse { header: self.header(None), members }))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        self.0.council.promote(NodeId(request.into_inner().id)).await?;
        let members = self.0.council.table().list();
        Ok(Response::new(MemberPromoteResponse { header: self.header(None), members }))
    }
}

fn check_urls(urls: &[String]) -> Result<Vec<PeerAddress>, ApiError> {
    if urls.iter().any(|url| url.starts_with("https://")) {
        return Err(ApiError::EncryptedPeerUrl);
    }
    addresses_of(urls).ok_or(ApiError::BadMemberUrls)
}
