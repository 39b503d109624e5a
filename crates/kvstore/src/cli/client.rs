//! `kvstore get`, `put` and `del`, for those without etcdctl.

use super::DEFAULT_CLIENT;
use anyhow::Context;
use clap::Args;
use kvstore::proto::etcdserverpb::kv_client::KvClient;
use kvstore::proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest};
use std::io::Write;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Args)]
struct Endpoints {
    /// Where the members listen for clients; the first that can be reached is asked
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',', default_value = DEFAULT_CLIENT)]
    endpoints: Vec<String>,
}

#[derive(Args)]
pub(super) struct Get {
    /// The key
    key: String,
    /// All keys that begin with it
    #[arg(long)]
    prefix: bool,
    /// Ask only the member itself, which may be behind
    #[arg(long)]
    serializable: bool,
    #[command(flatten)]
    endpoints: Endpoints,
}

#[derive(Args)]
pub(super) struct Put {
    /// The key
    key: String,
    /// Its new value
    value: String,
    #[command(flatten)]
    endpoints: Endpoints,
}

#[derive(Args)]
pub(super) struct Del {
    /// The key
    key: String,
    /// All keys that begin with it
    #[arg(long)]
    prefix: bool,
    #[command(flatten)]
    endpoints: Endpoints,
}

impl Endpoints {
    async fn connect(&self) -> anyhow::Result<KvClient<Channel>> {
        let mut last = None;
        for endpoint in &self.endpoints {
            let url = if endpoint.contains("://") { endpoint.clone() } else { format!("http://{endpoint}") };
            let endpoint =
                Endpoint::from_shared(url).with_context(|| format!("{endpoint:?} is no HOST:PORT"))?;
            match endpoint.connect_timeout(CONNECT_TIMEOUT).connect().await {
                Ok(channel) => return Ok(KvClient::new(channel).max_decoding_message_size(usize::MAX)),
                Err(error) => last = Some(error),
            }
        }
        let list = self.endpoints.join(",");
        let error = last.map_or_else(|| anyhow::anyhow!("none given"), anyhow::Error::from);
        Err(error.context(format!("no member can be reached at {list}: is one running there?")))
    }
}

/// The end of the range of all keys that begin with `prefix`: the last byte that can be raised, raised.
fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

fn range_end(key: &str, prefix: bool) -> Vec<u8> {
    if prefix { prefix_end(key.as_bytes()) } else { Vec::new() }
}

fn refused(status: &tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message())
}

impl Get {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let range_end = range_end(&self.key, self.prefix).into();
        let request = RangeRequest {
            key: self.key.into(),
            range_end,
            serializable: self.serializable,
            ..RangeRequest::default()
        };
        let response =
            self.endpoints.connect().await?.range(request).await.map_err(|status| refused(&status))?;
        let mut out = std::io::stdout().lock();
        for kv in response.into_inner().kvs {
            for part in [&kv.key, &kv.value] {
                out.write_all(part)?;
                out.write_all(b"\n")?;
            }
        }
        Ok(())
    }
}

impl Put {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let request = PutRequest { key: self.key.into(), value: self.value.into(), ..PutRequest::default() };
        self.endpoints.connect().await?.put(request).await.map_err(|status| refused(&status))?;
        Ok(std::io::stdout().write_all(b"OK\n")?)
    }
}

impl Del {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let range_end = range_end(&self.key, self.prefix).into();
        let request = DeleteRangeRequest { key: self.key.into(), range_end, prev_kv: false };
        let response =
            self.endpoints.connect().await?.delete_range(request).await.map_err(|status| refused(&status))?;
        Ok(writeln!(std::io::stdout(), "{}", response.into_inner().deleted)?)
    }
}

#[cfg(test)]
mod tests {
    use super::prefix_end;

    #[test]
    fn a_prefix_ends_before_what_is_greater() {
        assert_eq!(prefix_end(b"a"), b"b");
        assert_eq!(prefix_end(b"a\xff"), b"b");
        assert_eq!(prefix_end(b"\xff\xff"), b"\0");
        assert_eq!(prefix_end(b""), b"\0");
    }
}
