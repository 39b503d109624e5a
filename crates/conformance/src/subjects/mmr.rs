//! How runs of agreement with a hidden coin are configured, and what its Byzantine nodes know of it.

use super::slowest_sync;
use crate::suite::Tuning;
use benor::mmr::{Casts, Coin, Config, Message, Share, Standing, Thresholds, Values, deal};
use consensus_core::NodeId;
use consensus_sim::{ByzantinePlan, Mutate, Mutator, Plan, Stream};
use core::time::Duration;

/// Agreement with a hidden coin. The shares are real ones: what a liar makes of them is no share.
pub fn benor_mmr(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    if plan.byzantine.is_some() && draw.below(16) == 0 {
        plan.nodes = 10;
        plan.byzantine = Some(ByzantinePlan::draw(draw.number(), 10, 3));
    }
    if let Some(byzantine) = &mut plan.byzantine {
        byzantine.mutator = Some(Mutator::of::<Lie>());
    }
    let round = plan.network.longest_delay(plan.hosts()) * 2 + plan.burst * 2 + plan.disk.sync * 2;
    let round_ms = u64::try_from(round.as_millis()).unwrap_or(u64::MAX);
    let retry_ms = draw.between(1, 30).max(round_ms);
    let config = Config { coin: coin(plan.nodes, draw.number()), retry_ms, ..Config::default() };
    // With probability one: a bound that no sound run has come near.
    let patience = Duration::from_millis(10_000 + 200 * retry_ms) + slowest_sync(plan);
    Tuning { config, patience }
}

/// The coins of one run. Every node could give everybody's shares, and gives its own.
pub(crate) fn coin(nodes: usize, group: u64) -> Coin {
    let members: Vec<NodeId> = (1..=nodes as u64).map(NodeId).collect();
    let dealt = deal(&members, Thresholds::of(nodes).relay, &[7; 32]);
    // Without keys no node starts, and that shows.
    dealt.and_then(|(keys, secrets)| Coin::new(group, keys, secrets)).unwrap_or_default()
}

/// What a liar changes in a message of its own.
pub(crate) enum Lie {}

impl Mutate for Lie {
    type Message = Message;

    fn mutate(message: &Message, choices: &mut Stream) -> Option<Message> {
        let mut lie = |standing: &Standing| {
            let mut lie = *standing;
            let which = if choices.below(4) == 0 { &mut lie.before } else { &mut lie.casts };
            let Some(casts) = which else { return lie };
            match choices.below(8) {
                0 => casts.est = other(casts.est),
                1 => casts.est = Values::Both,
                2 => casts.aux = casts.aux.map(|aux| !aux),
                3 => casts.conf = casts.conf.map(|conf| other_or_both(conf, choices)),
                4 => casts.share = casts.share.map(|share| tampered(share, choices)),
                5 => lie.decided = Some(choices.below(2) == 0),
                6 => lie.round += choices.between(1, 3),
                _ => {
                    let value = choices.below(2) == 0;
                    let only = Values::only(value);
                    *casts = Casts { est: only, aux: Some(value), conf: Some(only), ..*casts };
                }
            }
            lie
        };
        Some(match message {
            Message::Tell(standing) => Message::Tell(lie(standing)),
            Message::Ask(standing) => Message::Ask(lie(standing)),
        })
    }
}

const fn other(values: Values) -> Values {
    match values {
        Values::Zero | Values::Both => Values::One,
        Values::One => Values::Zero,
    }
}

fn other_or_both(values: Values, choices: &mut Stream) -> Values {
    if choices.below(2) == 0 { Values::Both } else { other(values) }
}

/// Another element, which may be one all the same: the proof's challenge is none of it.
fn tampered(share: Share, choices: &mut Stream) -> Share {
    let mut element = share.element;
    let place = choices.index(element.len());
    if let Some(byte) = element.get_mut(place) {
        *byte ^= 2;
    }
    let swapped = Share { challenge: share.response, response: share.challenge, ..share };
    match choices.below(3) {
        0 => Share { element, ..share },
        1 => Share { element: share.response, ..share },
        _ => swapped,
    }
}
