//! Reads and writes.

use super::Api;
use crate::command::{Command, Reply};
use crate::error::ApiError;
use crate::number;
use crate::proto::etcdserverpb::kv_server::Kv;
use crate::proto::etcdserverpb::request_op::Request as Op;
use crate::proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};
use crate::store::{has_puts, is_read_only};
use crate::validate;
use tonic::{Request, Response, Status};

/// Takes the reply to a command of the same kind, and completes its header.
macro_rules! answer {
    ($api:expr, $kind:path, $reply:expr) => {
        match $reply {
            $kind(mut response) => {
                response.header = $api.header(response.header);
                Ok(Response::new(response))
            }
            // A member whose program pairs commands and replies differently.
            _ => Err(ApiError::Incompatible.into()),
        }
    };
}

#[tonic::async_trait]
impl Kv for Api {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let number = number::of(request.metadata())?;
        let request = request.into_inner();
        validate::range(&request)?;
        if number.is_some() && !request.serializable {
            // All who are asked answer from one place in the log.
            return answer!(self, Reply::Range, self.propose(Command::Range(request), number).await?);
        }
        if !request.serializable {
            self.barrier().await?;
        }
        let mut response = self.0.store.range(&request).map_err(ApiError::from)?;
        response.header = self.header(response.header);
        Ok(Response::new(response))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let number = number::of(request.metadata())?;
        let request = request.into_inner();
        validate::put(&request)?;
        self.check_quota()?;
        answer!(self, Reply::Put, self.propose(Command::Put(request), number).await?)
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let number = number::of(request.metadata())?;
        let request = request.into_inner();
        validate::delete_range(&request)?;
        answer!(self, Reply::DeleteRange, self.propose(Command::DeleteRange(request), number).await?)
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let number = number::of(request.metadata())?;
        let request = request.into_inner();
        validate::txn(&request)?;
        if is_read_only(&request) && number.is_none() {
            if !is_serializable(&request) {
                self.barrier().await?;
            }
            let mut response = self.0.store.read().read_txn(&request).map_err(ApiError::from)?;
            response.header = self.header(response.header);
            return Ok(Response::new(response));
        }
        if has_puts(&request) {
            self.check_quota()?;
        }
        answer!(self, Reply::Txn, self.propose(Command::Txn(request), number).await?)
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let number = number::of(request.metadata())?;
        answer!(self, Reply::Compact, self.propose(Command::Compact(request.into_inner()), number).await?)
    }
}

/// Whether a read-only transaction may be answered from what this member has: only if each of its reads may.
fn is_serializable(request: &TxnRequest) -> bool {
    let mut ops = request.success.iter().chain(&request.failure);
    ops.all(|op| matches!(&op.request, Some(Op::RequestRange(range)) if range.serializable))
}
