//! The store and its validation against a real etcd: the same random requests must get the same replies and the same error
//! texts, revision by revision. Skipped, loudly, where no `etcd` is installed.

use crate::model;
use crate::reference;
use kvstore::command::{Command, Reply};
use kvstore::error::ApiError;
use kvstore::members::MemberTable;
use kvstore::proto::etcdserverpb::kv_client::KvClient;
use kvstore::proto::etcdserverpb::range_request::SortTarget;
use kvstore::proto::etcdserverpb::request_op::Request;
use kvstore::proto::etcdserverpb::response_op::Response;
use kvstore::proto::etcdserverpb::{RangeRequest, RangeResponse, RequestOp, ResponseHeader, ResponseOp};
use kvstore::store::Store;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use tonic::Status;
use tonic::transport::Channel;

const REQUESTS: usize = 1500;

async fn ask(kv: &mut KvClient<Channel>, command: Command) -> Result<Reply, Status> {
    Ok(match command {
        Command::Put(request) => Reply::Put(kv.put(request).await?.into_inner()),
        Command::DeleteRange(request) => Reply::DeleteRange(kv.delete_range(request).await?.into_inner()),
        Command::Txn(request) => Reply::Txn(kv.txn(request).await?.into_inner()),
        Command::Compact(request) => Reply::Compact(kv.compact(request).await?.into_inner()),
        Command::Range(request) => Reply::Range(kv.range(request).await?.into_inner()),
        Command::Members(command) => panic!("no client can ask for {command:?}"),
    })
}

fn ours(store: &mut Store, command: &Command) -> Result<Reply, Status> {
    model::validated(command)?;
    match command.apply(store, &mut MemberTable::default()) {
        Reply::Refused(reason) => Err(ApiError::from(reason).into()),
        reply => Ok(reply),
    }
}

/// Takes out what only one of the two knows, and what the protocol leaves open.
fn normalize(reply: &mut Reply, command: &Command) {
    match (reply, command) {
        (Reply::Put(r), _) => normalize_header(&mut r.header),
        (Reply::DeleteRange(r), _) => normalize_header(&mut r.header),
        (Reply::Compact(r), _) => normalize_header(&mut r.header),
        (Reply::Range(r), Command::Range(request)) => normalize_range(r, request),
        (Reply::Txn(r), Command::Txn(request)) => {
            normalize_header(&mut r.header);
            let branch = if r.succeeded { &request.success } else { &request.failure };
            normalize_ops(&mut r.responses, branch);
        }
        _ => {}
    }
}

fn normalize_header(header: &mut Option<ResponseHeader>) {
    let revision = header.unwrap_or_default().revision;
    *header = Some(ResponseHeader { revision, ..ResponseHeader::default() });
}

fn normalize_ops(responses: &mut [ResponseOp], branch: &[RequestOp]) {
    for (response, op) in responses.iter_mut().zip(branch) {
        match (response.response.as_mut().unwrap(), op.request.as_ref().unwrap()) {
            (Response::ResponsePut(r), _) => normalize_header(&mut r.header),
            (Response::ResponseDeleteRange(r), _) => normalize_header(&mut r.header),
            (Response::ResponseRange(r), Request::RequestRange(request)) => normalize_range(r, request),
            (Response::ResponseTxn(r), Request::RequestTxn(request)) => {
                // etcd leaves it at zero; we say the revision.
                r.header = None;
                let branch = if r.succeeded { &request.success } else { &request.failure };
                normalize_ops(&mut r.responses, branch);
            }
            (response, request) => panic!("{response:?} does not answer {request:?}"),
        }
    }
}

/// The order of equals is open, and so is which of them a limit cuts off.
fn normalize_range(r: &mut RangeResponse, request: &RangeRequest) {
    normalize_header(&mut r.header);
    if request.sort_target() == SortTarget::Key {
        return;
    }
    if r.more {
        r.kvs.clear();
    }
    r.kvs.sort_by(|a, b| a.key.cmp(&b.key));
}

#[tokio::test]
async fn a_real_etcd_gives_the_same_replies() {
    let directory = tempfile::tempdir().unwrap();
    let Some(etcd) = reference::start(directory.path()).await else {
        eprintln!("SKIPPED: no `etcd` on the PATH (Debian: apt-get install etcd-server)");
        return;
    };
    let mut kv = KvClient::connect(etcd.client_url.clone()).await.unwrap();
    let mut store = Store::new();
    let mut runner = TestRunner::deterministic();
    let (mut refused, mut done) = (0, 0);
    let mut report = String::new();
    for number in 0..REQUESTS {
        // etcd looks for a missing lease on the branch that is taken, we look before: that comparison says nothing.
        let command = model::without_leases(&model::command().new_tree(&mut runner).unwrap().current());
        let mut expected = ask(&mut kv, command.clone()).await;
        let mut got = ours(&mut store, &command);
        for reply in [&mut expected, &mut got].into_iter().flatten() {
            normalize(reply, &command);
        }
        let same = match (&expected, &got) {
            (Ok(expected), Ok(got)) => expected == got,
            (Err(expected), Err(got)) => (expected.code(), expected.message()) == (got.code(), got.message()),
            _ => false,
        };
        if !same {
            report = format!("request {number}: {command:?}\nexpected {expected:?}\ngot      {got:?}");
            break;
        }
        *(if got.is_ok() { &mut done } else { &mut refused }) += 1;
    }
    assert!(report.is_empty(), "{report}");
    assert!(done > REQUESTS / 2 && refused > 10, "the requests say little: {done} done, {refused} refused");
}
