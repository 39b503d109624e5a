//! A client that believes no single member: it asks all of them, and takes what so many answer alike.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kvstore::number;
use kvstore::proto::etcdserverpb::ResponseHeader;
use kvstore::proto::etcdserverpb::kv_client::KvClient;
use prost::Message;
use rand::TryRng;
use std::num::NonZeroU64;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// A response with a header.
pub(super) trait Headed: Message + Default + PartialEq + Clone {
    /// Takes out what each member says of itself.
    fn strip(&mut self);
}

macro_rules! headed {
    ($($response:ident),+) => {
        $(impl Headed for kvstore::proto::etcdserverpb::$response {
            fn strip(&mut self) {
                self.header = self.header.take().map(strip);
            }
        })+
    };
}

headed!(RangeResponse, PutResponse, DeleteRangeResponse);

fn strip(header: ResponseHeader) -> ResponseHeader {
    ResponseHeader { member_id: 0, raft_term: 0, ..header }
}

/// What was answered, and by how many. A refusal is an answer too.
struct Ballot<T> {
    answers: Vec<(Result<T, String>, usize)>,
}

impl<T: PartialEq> Ballot<T> {
    /// How many have answered like this, now.
    fn cast(&mut self, answer: Result<T, String>) -> (usize, &Result<T, String>) {
        let place = self.answers.iter().position(|(known, _)| *known == answer);
        let place = place.unwrap_or_else(|| {
            self.answers.push((answer, 0));
            self.answers.len() - 1
        });
        let (answer, count) = &mut self.answers[place];
        *count += 1;
        (*count, answer)
    }
}

/// Asks all of them under one number, until `enough` have answered alike.
pub(super) async fn ask<Q, A, F>(
    clients: Vec<KvClient<Channel>>,
    enough: usize,
    question: Q,
    call: impl Fn(KvClient<Channel>, Request<Q>) -> F,
) -> anyhow::Result<A>
where
    Q: Clone,
    A: Headed,
    F: Future<Output = Result<Response<A>, Status>>,
{
    let asked = clients.len();
    anyhow::ensure!(
        enough <= asked,
        "{enough} members cannot answer alike where {asked} are asked: name more --endpoints"
    );
    // Nobody else draws the same.
    let number = rand::rngs::SysRng.try_next_u64()?;
    let number = NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN);
    let calls = clients.into_iter().map(|client| {
        let mut request = Request::new(question.clone());
        number::give(&mut request, number);
        call(client, request)
    });
    let mut calls: FuturesUnordered<F> = calls.collect();
    let mut ballot = Ballot { answers: Vec::new() };
    while let Some(answer) = calls.next().await {
        let answer = answer.map(Response::into_inner).map(|mut answer| {
            answer.strip();
            answer
        });
        let (count, answer) = ballot.cast(answer.map_err(|status| status.message().to_owned()));
        if count >= enough {
            return answer.clone().map_err(anyhow::Error::msg);
        }
    }
    let say = |(answer, count): (Result<A, String>, usize)| match answer {
        Ok(_) => format!("{count} gave one answer"),
        Err(error) => format!("{count} said {error:?}"),
    };
    let said: Vec<String> = ballot.answers.into_iter().map(say).collect();
    anyhow::bail!(
        "no {enough} of {asked} members answered alike; it may or may not have taken effect: {}",
        said.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_count_for_what_they_say_and_refusals_too() {
        let mut ballot = Ballot { answers: Vec::new() };
        let no = || Err("no".to_owned());
        let counts = [Ok(1), Ok(2), no(), Ok(1), no()].map(|answer| ballot.cast(answer).0);
        assert_eq!(counts, [1, 1, 1, 2, 2]);
    }
}
