//! `kvstore get`, `put` and `del`, for those without etcdctl.

use super::DEFAULT_CLIENT;
use super::agree::{self, Headed};
use anyhow::Context;
use clap::Args;
use kvstore::proto::etcdserverpb::kv_client::KvClient;
use kvstore::proto::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
};
use std::io::Write;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Args)]
struct Endpoints {
    /// Where the members listen for clients; the first that can be reached is asked
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',', default_value = DEFAULT_CLIENT)]
    endpoints: Vec<String>,
    /// Where some members may lie: ask all of them, and believe what so many answer alike, which is one more than may lie
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    agree: Option<u64>,
}

#[derive(Args)]
pub(super) struct Get {
    /// The key
    key: String,
    /// All keys that begin with it
    #[arg(long)]
    prefix: bool,
    /// Ask only the member itself, which may be behind
    #[arg(long, conflicts_with = "agree")]
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

fn endpoint(text: &str) -> anyhow::Result<Endpoint> {
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let endpoint = Endpoint::from_shared(url).with_context(|| format!("{text:?} is no HOST:PORT"))?;
    Ok(endpoint.connect_timeout(CONNECT_TIMEOUT))
}

fn client(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel).max_decoding_message_size(usize::MAX)
}

impl Endpoints {
    /// Asks the first member that can be reached; or all, if no single one is to be believed.
    async fn ask<Q, A, F>(
        &self,
        question: Q,
        call: impl Fn(KvClient<Channel>, Request<Q>) -> F,
    ) -> anyhow::Result<A>
    where
        Q: Clone,
        A: Headed,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        if let Some(enough) = self.agree {
            let all = self.endpoints.iter().map(|text| Ok(client(endpoint(text)?.connect_lazy())));
            let all = all.collect::<anyhow::Result<_>>()?;
            return agree::ask(all, usize::try_from(enough)?, question, call).await;
        }
        let answer = call(self.connect().await?, Request::new(question)).await;
        Ok(answer.map_err(|status| refused(&status))?.into_inner())
    }

    async fn connect(&self) -> anyhow::Result<KvClient<Channel>> {
        let mut last = None;
        for text in &self.endpoints {
            match endpoint(text)?.connect().await {
                Ok(channel) => return Ok(client(channel)),
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
        let ask = async |mut kv: KvClient<Channel>, request| kv.range(request).await;
        let response: RangeResponse = self.endpoints.ask(request, ask).await?;
        let mut out = std::io::stdout().lock();
        for kv in response.kvs {
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
        let ask = async |mut kv: KvClient<Channel>, request| kv.put(request).await;
        let _: PutResponse = self.endpoints.ask(request, ask).await?;
        Ok(std::io::stdout().write_all(b"OK\n")?)
    }
}

impl Del {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let range_end = range_end(&self.key, self.prefix).into();
        let request = DeleteRangeRequest { key: self.key.into(), range_end, prev_kv: false };
        let ask = async |mut kv: KvClient<Channel>, request| kv.delete_range(request).await;
        let response: DeleteRangeResponse = self.endpoints.ask(request, ask).await?;
        Ok(writeln!(std::io::stdout(), "{}", response.deleted)?)
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
