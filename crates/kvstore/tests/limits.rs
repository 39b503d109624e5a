//! The largest requests, and replies far larger than any frame between members, through a follower.

use crate::cluster::Cluster;
use kvstore::proto::etcdserverpb::kv_client::KvClient;
use kvstore::proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest};
use kvstore::validate::MAX_REQUEST_BYTES;

const KEYS: u8 = 8;

#[tokio::test]
async fn a_follower_takes_and_gives_what_is_large() {
    let mut cluster = Cluster::new(3, &[]);
    cluster.start_all();
    let follower = (cluster.leader().await + 1) % 3;
    let mut kv = KvClient::connect(cluster.urls()[follower].clone())
        .await
        .unwrap()
        .max_decoding_message_size(64 << 20);
    let value = |number| vec![b'a' + number; MAX_REQUEST_BYTES - 64];
    for number in 0..KEYS {
        let request =
            PutRequest { key: vec![number].into(), value: value(number).into(), ..PutRequest::default() };
        kv.put(request).await.unwrap();
    }
    let everything = RangeRequest { key: "\0".into(), range_end: "\0".into(), ..RangeRequest::default() };
    let found = kv.range(everything.clone()).await.unwrap().into_inner();
    assert!((0..KEYS).zip(&found.kvs).all(|(number, kv)| kv.value == value(number)));
    assert_eq!(found.count, i64::from(KEYS));
    let all = DeleteRangeRequest { key: "\0".into(), range_end: "\0".into(), prev_kv: true };
    let deleted = kv.delete_range(all).await.unwrap().into_inner();
    assert_eq!((deleted.deleted, deleted.prev_kvs), (i64::from(KEYS), found.kvs));
    assert_eq!(kv.range(everything).await.unwrap().into_inner().count, 0);
}
