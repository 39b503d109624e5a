//! A coin that falls alike for all, and for nobody before enough voters have said so.
//!
//! Cachin, Kursawe and Shoup (PODC 2000, §4), over the group ristretto255. Each voter has a point of a secret polynomial of degree
//! `threshold` − 1. The name of a coin is hashed to an element B of the group; a voter's share of it is B multiplied by its secret, with a proof that this is the
//! secret that its public key stands for (Chaum and Pedersen 1992). Any `threshold` shares give B multiplied by the polynomial at zero, by
//! Lagrange's formula; the coin is a bit of that element's hash. Fewer shares say nothing about it, as long as the Diffie-Hellman problem is hard and the hash
//! looks random.
//!
//! Whoever deals the keys has seen the polynomial: it can foresee every coin. With those who order the messages it can keep a group from deciding;
//! it cannot make it decide two values. There is no protocol here by which the voters make keys without a dealer.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use consensus_core::NodeId;
use core::fmt;
use curve25519_dalek::ristretto::CompressedRistretto;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use curve25519_dalek::{RistrettoPoint, Scalar};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512};
use zeroize::{Zeroize, Zeroizing};

/// The longest list of voters that keys are dealt for.
const MAX_MEMBERS: usize = 1 << 10;

/// A voter's share of one coin, with the proof that it is its own. What is in it is anybody's claim until it is verified.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The coin's element multiplied by the voter's secret: 32 bytes, as RFC 9496 has them.
    pub element: [u8; 32],
    /// The challenge of the proof, a number below the order of the group.
    pub challenge: [u8; 32],
    /// The response to it, another one.
    pub response: [u8; 32],
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, ..] = self.element;
        write!(f, "share:{a:02x}{b:02x}")
    }
}

/// Keys that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// These 32 bytes are no element of the group, or the neutral one, which hides no secret.
    #[error("the public key of {0} is no usable element of ristretto255: have keys dealt again")]
    Unusable(NodeId),
    /// A number that is out of range, or zero.
    #[error(
        "the secret key of {0} is no number from 1 to the order of the group: it was damaged, or is another kind of key"
    )]
    Secret(NodeId),
    /// A secret that belongs to another public key.
    #[error(
        "the secret key does not belong to the public key of {0}: one of the two is from another member or an older one"
    )]
    Mismatch(NodeId),
    /// Somebody has two keys.
    #[error("{0} is named twice: each voter has one key")]
    Twice(NodeId),
    /// Which voters give their shares would change how the coin falls.
    #[error("the public key of {0} does not fit to those of the others: they were not dealt together")]
    Inconsistent(NodeId),
    /// No coin can be made of so many shares.
    #[error("{threshold} shares of {members} are no coin: at least one, at most all, of at most 1024 voters")]
    Threshold {
        /// How many shares make a coin.
        threshold: usize,
        /// How many voters there are.
        members: usize,
    },
}

/// The secret of one voter. It is wiped when it is dropped, and never printed.
pub struct CoinKey {
    member: NodeId,
    secret: Scalar,
}

impl CoinKey {
    /// From what [`CoinKey::secret`] gave.
    ///
    /// # Errors
    /// These are no bytes of a secret.
    pub fn new(member: NodeId, secret: &[u8; 32]) -> Result<Self, KeyError> {
        let read = Option::<Scalar>::from(Scalar::from_canonical_bytes(*secret));
        let secret = read.filter(|secret| *secret != Scalar::ZERO).ok_or(KeyError::Secret(member))?;
        Ok(Self { member, secret })
    }

    /// Whose it is.
    #[must_use]
    pub const fn member(&self) -> NodeId {
        self.member
    }

    /// The secret, to be kept where only its member reads it.
    #[must_use]
    pub fn secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.secret.to_bytes())
    }
}

impl Drop for CoinKey {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl fmt::Debug for CoinKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoinKey").field("member", &self.member).finish_non_exhaustive()
    }
}

/// The public keys of all voters, by which shares are verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoinKeys {
    threshold: usize,
    /// In ascending order.
    members: Vec<NodeId>,
    /// Of each, in the same order.
    public: Vec<RistrettoPoint>,
}

impl CoinKeys {
    /// From what [`CoinKeys::public`] gave for each voter.
    ///
    /// # Errors
    /// A key is none, or the keys were not dealt together.
    pub fn new(
        threshold: usize,
        keys: impl IntoIterator<Item = (NodeId, [u8; 32])>,
    ) -> Result<Self, KeyError> {
        let mut known = BTreeMap::new();
        for (member, bytes) in keys {
            let point = CompressedRistretto(bytes).decompress().filter(|point| !point.is_identity());
            if known.insert(member, point.ok_or(KeyError::Unusable(member))?).is_some() {
                return Err(KeyError::Twice(member));
            }
        }
        let (members, public): (Vec<_>, Vec<_>) = known.into_iter().unzip();
        check_threshold(threshold, members.len())?;
        let keys = Self { threshold, members, public };
        keys.check_consistency()?;
        Ok(keys)
    }

    /// All keys lie on the polynomial that the first `threshold` of them give.
    fn check_consistency(&self) -> Result<(), KeyError> {
        let first: Vec<u64> = (1..=self.threshold as u64).collect();
        let basis = self.public.get(..self.threshold).unwrap_or(&[]);
        for ((place, member), known) in (1..).zip(&self.members).zip(&self.public).skip(self.threshold) {
            let weights = first.iter().map(|&index| lagrange(index, &first, place));
            if RistrettoPoint::vartime_multiscalar_mul(weights, basis) != *known {
                return Err(KeyError::Inconsistent(*member));
            }
        }
        Ok(())
    }

    /// The voters, in ascending order.
    #[must_use]
    pub fn members(&self) -> &[NodeId] {
        &self.members
    }

    /// How many shares make a coin.
    #[must_use]
    pub const fn threshold(&self) -> usize {
        self.threshold
    }

    /// The public key of a voter: 32 bytes that everybody may know.
    #[must_use]
    pub fn public(&self, member: NodeId) -> Option<[u8; 32]> {
        Some(self.key_of(member)?.compress().to_bytes())
    }

    fn key_of(&self, member: NodeId) -> Option<&RistrettoPoint> {
        self.public.get(self.members.binary_search(&member).ok()?)
    }

    /// At which place of the polynomial the voter's secret is.
    fn index_of(&self, member: NodeId) -> Option<u64> {
        Some(self.members.binary_search(&member).ok()? as u64 + 1)
    }
}

/// Deals keys: `threshold` of the members will make a coin. The seed must be 32 bytes that nobody can guess, and be forgotten: with it, as with
/// `threshold` of the secrets, all coins are foreseen.
///
/// # Errors
/// No such coin can be made, or a member is named twice.
pub fn deal(
    members: &[NodeId],
    threshold: usize,
    seed: &[u8; 32],
) -> Result<(CoinKeys, Vec<CoinKey>), KeyError> {
    check_threshold(threshold, members.len())?;
    let mut members = members.to_vec();
    members.sort_unstable();
    if let Some(pair) = members.windows(2).find(|pair| pair.first() == pair.last()) {
        return Err(KeyError::Twice(pair.first().copied().unwrap_or_default()));
    }
    let coefficient = |place: u64| hash(b"deal", &[seed, &place.to_le_bytes()]);
    let polynomial: Zeroizing<Vec<Scalar>> =
        Zeroizing::new((0..threshold as u64).map(|place| scalar(&coefficient(place))).collect());
    let value_at = |index: u64| {
        let index = Scalar::from(index);
        polynomial.iter().rev().fold(Scalar::ZERO, |sum, coefficient| sum * index + coefficient)
    };
    let dealt = members.iter().zip(1..);
    let secrets: Vec<_> = dealt.map(|(&member, index)| CoinKey { member, secret: value_at(index) }).collect();
    let public = secrets.iter().map(|key| RistrettoPoint::mul_base(&key.secret)).collect();
    Ok((CoinKeys { threshold, members, public }, secrets))
}

/// Tosses the coins of one group: the public keys of all voters, and our own secret one. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Coin(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    group: u64,
    keys: CoinKeys,
    secrets: BTreeMap<NodeId, CoinKey>,
}

impl Coin {
    /// The coins of the group of this number, with the secrets that we hold: a node has one, its own; a learner none. Two groups with the same keys must
    /// have different numbers, or one tells how the coins of the other fall.
    ///
    /// # Errors
    /// A secret is not the one of its member's public key.
    pub fn new(
        group: u64,
        keys: CoinKeys,
        secrets: impl IntoIterator<Item = CoinKey>,
    ) -> Result<Self, KeyError> {
        let secrets: BTreeMap<_, _> = secrets.into_iter().map(|key| (key.member, key)).collect();
        for (&member, key) in &secrets {
            if keys.key_of(member) != Some(&RistrettoPoint::mul_base(&key.secret)) {
                return Err(KeyError::Mismatch(member));
            }
        }
        Ok(Self(Arc::new(Inner { group, keys, secrets })))
    }

    /// The public keys.
    #[must_use]
    pub fn keys(&self) -> &CoinKeys {
        &self.0.keys
    }

    /// Whether we can give shares as this voter.
    #[must_use]
    pub fn holds(&self, member: NodeId) -> bool {
        self.0.secrets.contains_key(&member)
    }

    /// The share of a voter in the coin of a round; `None` if we do not hold its secret. The same each time, byte for byte.
    // [M6]
    #[must_use]
    pub fn share(&self, member: NodeId, round: u64) -> Option<Share> {
        let secret = &self.0.secrets.get(&member)?.secret;
        let (base, key) = (self.base(round), self.0.keys.key_of(member)?);
        let element = base * secret;
        // A nonce that is a function of the secret and of what is proven needs no randomness, and never proves two things.
        let known = Zeroizing::new(secret.to_bytes());
        let nonce = Zeroizing::new(scalar(&hash(b"nonce", &[known.as_slice(), base.compress().as_bytes()])));
        let commitments = (RistrettoPoint::mul_base(&nonce), base * *nonce);
        let challenge = challenge(key, &base, &element, &commitments);
        let response = *nonce + challenge * secret;
        Some(Share {
            element: element.compress().to_bytes(),
            challenge: challenge.to_bytes(),
            response: response.to_bytes(),
        })
    }

    /// Whether this is the voter's share of the coin of a round.
    // [M6]
    #[must_use]
    pub fn verify(&self, member: NodeId, round: u64, share: &Share) -> bool {
        self.is_proven(member, round, share).unwrap_or(false)
    }

    fn is_proven(&self, member: NodeId, round: u64, share: &Share) -> Option<bool> {
        let key = self.0.keys.key_of(member)?;
        let element = CompressedRistretto(share.element).decompress()?;
        let number = |bytes| Option::<Scalar>::from(Scalar::from_canonical_bytes(bytes));
        let (claimed, response) = (number(share.challenge)?, number(share.response)?);
        let base = self.base(round);
        let commitments = (
            RistrettoPoint::vartime_double_scalar_mul_basepoint(&-claimed, key, &response),
            RistrettoPoint::vartime_multiscalar_mul([-claimed, response], [element, base]),
        );
        Some(challenge(key, &base, &element, &commitments) == claimed)
    }

    /// How the coin of a round falls, from shares that were verified; `None` if they are too few, or not by distinct voters. Whichever they are, it falls alike.
    // [M6]
    #[must_use]
    pub fn toss(&self, round: u64, shares: &[(NodeId, Share)]) -> Option<bool> {
        let keys = &self.0.keys;
        let mut elements = BTreeMap::new();
        for (member, share) in shares {
            elements.insert(keys.index_of(*member)?, CompressedRistretto(share.element).decompress()?);
        }
        if elements.len() < keys.threshold || keys.threshold == 0 {
            return None;
        }
        let chosen: Vec<u64> = elements.keys().copied().take(keys.threshold).collect();
        let weights = chosen.iter().map(|&index| lagrange(index, &chosen, 0));
        let sum = RistrettoPoint::vartime_multiscalar_mul(weights, elements.values().take(keys.threshold));
        let name = [self.0.group.to_le_bytes(), round.to_le_bytes()].concat();
        hash(b"bit", &[&name, sum.compress().as_bytes()]).first().map(|byte| byte & 1 == 1)
    }

    /// The element that stands for the coin of a round.
    fn base(&self, round: u64) -> RistrettoPoint {
        let name = [self.0.group.to_le_bytes(), round.to_le_bytes()].concat();
        RistrettoPoint::from_uniform_bytes(&hash(b"coin", &[&name]))
    }
}

const fn check_threshold(threshold: usize, members: usize) -> Result<(), KeyError> {
    if threshold == 0 || threshold > members || members > MAX_MEMBERS {
        return Err(KeyError::Threshold { threshold, members });
    }
    Ok(())
}

/// By how much the value at `index` counts for the value at `at`, of a polynomial that is known at the places `all`.
fn lagrange(index: u64, all: &[u64], at: u64) -> Scalar {
    let own = Scalar::from(index);
    let others = all.iter().filter(|&&other| other != index).map(|&other| Scalar::from(other));
    let (above, below) = others.fold((Scalar::ONE, Scalar::ONE), |(above, below), other| {
        (above * (Scalar::from(at) - other), below * (own - other))
    });
    // Places are distinct, and below the order of the group: no difference is zero.
    above * below.invert()
}

/// What the proof of a share answers to.
fn challenge(
    key: &RistrettoPoint,
    base: &RistrettoPoint,
    element: &RistrettoPoint,
    commitments: &(RistrettoPoint, RistrettoPoint),
) -> Scalar {
    let parts = [key, base, element, &commitments.0, &commitments.1].map(|it| it.compress().to_bytes());
    let parts = parts.each_ref().map(<[u8; 32]>::as_slice);
    scalar(&hash(b"proof", &parts))
}

fn scalar(bytes: &[u8; 64]) -> Scalar {
    Scalar::from_bytes_mod_order_wide(bytes)
}

/// SHA-512 of something for one purpose. All parts of a purpose have fixed lengths.
fn hash(purpose: &[u8], parts: &[&[u8]]) -> [u8; 64] {
    let mut hasher = Sha512::new().chain_update(b"benor-mmr/1/").chain_update(purpose).chain_update(b"/");
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}
