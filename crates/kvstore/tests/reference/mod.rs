//! A real etcd of one member, to compare with.

use kvstore::proto::etcdserverpb::RangeRequest;
use kvstore::proto::etcdserverpb::kv_client::KvClient;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// It ends with this.
pub(crate) struct Etcd {
    child: Child,
    pub(crate) client_url: String,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts it, and waits until it answers; `None` if it is not installed.
pub(crate) async fn start(directory: &std::path::Path) -> Option<Etcd> {
    let (client, peer) = (free_port(), free_port());
    let [client_url, peer_url] = [client, peer].map(|port| format!("http://127.0.0.1:{port}"));
    let child = Command::new("etcd")
        .args(["--name", "reference", "--data-dir", directory.to_str()?])
        .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
        .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
        .args(["--initial-cluster", &format!("reference={peer_url}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let etcd = Etcd { child, client_url };
    for _ in 0..200 {
        if let Ok(mut kv) = KvClient::connect(etcd.client_url.clone()).await
            && kv.range(RangeRequest { key: "k".into(), ..RangeRequest::default() }).await.is_ok()
        {
            return Some(etcd);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("etcd does not answer");
}
