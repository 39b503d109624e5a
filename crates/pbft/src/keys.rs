//! Who may sign what: the keys of a group.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use consensus_core::NodeId;
use core::fmt;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

/// A signature: 64 bytes, as ed25519 has it (RFC 8032 §5.1.6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Signature {
    /// The first half, R.
    #[serde(with = "crate::fixed")]
    pub r: [u8; 32],
    /// The second half, S.
    #[serde(with = "crate::fixed")]
    pub s: [u8; 32],
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, ..] = self.r;
        write!(f, "sig:{a:02x}{b:02x}")
    }
}

/// A scheme of signatures, with the keys of a group's members: [`Ed25519`], or one that asks a device for its signatures.
///
/// Both are functions of what they are given: a message that verifies at one correct replica verifies at all.
pub trait Scheme: fmt::Debug + Send + Sync {
    /// The members whose public keys are known, in ascending order.
    fn members(&self) -> &[NodeId];
    /// Whether we can sign as this member.
    fn signs_as(&self, member: NodeId) -> bool;
    /// Our signature as this member; `None` if we cannot sign as it.
    fn sign(&self, member: NodeId, message: &[u8]) -> Option<Signature>;
    /// Whether this member signed that.
    fn verify(&self, member: NodeId, message: &[u8], signature: &Signature) -> bool;
}

/// The keys of a group: cheap to clone.
#[derive(Clone)]
pub struct Keyring(Arc<dyn Scheme>);

impl Keyring {
    /// These keys.
    pub fn new(scheme: impl Scheme + 'static) -> Self {
        Self(Arc::new(scheme))
    }
}

/// Without keys: no configuration with it is valid.
impl Default for Keyring {
    fn default() -> Self {
        Self::new(Ed25519 { members: Vec::new(), public: BTreeMap::new(), secret: BTreeMap::new() })
    }
}

impl core::ops::Deref for Keyring {
    type Target = dyn Scheme;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// ed25519 keys: the public ones of all members, and our own secret one.
pub struct Ed25519 {
    members: Vec<NodeId>,
    public: BTreeMap<NodeId, VerifyingKey>,
    secret: BTreeMap<NodeId, SigningKey>,
}

/// Keys that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// These 32 bytes are no point of the curve, or one of small order, under which a signature fits many messages.
    #[error("the public key of {0} is not a usable ed25519 key: have that member generate its key again")]
    Unusable(NodeId),
    /// Two members with one key would count twice.
    #[error("{0} and {1} have the same public key: each member needs its own")]
    Shared(NodeId, NodeId),
    /// A secret that belongs to another public key.
    #[error(
        "the secret key does not belong to the public key of {0}: one of the two is from another member or an older one"
    )]
    Mismatch(NodeId),
}

impl Ed25519 {
    /// The public keys of all members, and the secret key (RFC 8032 §5.1.5: 32 random bytes) of member `id`.
    ///
    /// # Errors
    /// A public key cannot be used, is somebody else's too, or does not belong to the secret one.
    pub fn new(
        id: NodeId,
        secret: &[u8; 32],
        public: impl IntoIterator<Item = (NodeId, [u8; 32])>,
    ) -> Result<Self, KeyError> {
        let (all, secret) = (Self::of_public(public)?, SigningKey::from_bytes(secret));
        if all.public.get(&id) != Some(&secret.verifying_key()) {
            return Err(KeyError::Mismatch(id));
        }
        Ok(Self { secret: [(id, secret)].into(), ..all })
    }

    /// The public keys of all members, for whoever checks what they signed and signs nothing.
    ///
    /// # Errors
    /// A public key cannot be used, or is somebody else's too.
    pub fn of_public(public: impl IntoIterator<Item = (NodeId, [u8; 32])>) -> Result<Self, KeyError> {
        let mut keys = BTreeMap::new();
        for (member, bytes) in public {
            let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::Unusable(member))?;
            if key.is_weak() {
                return Err(KeyError::Unusable(member));
            }
            if let Some((&twin, _)) = keys.iter().find(|&(_, known)| *known == key) {
                return Err(KeyError::Shared(twin, member));
            }
            keys.insert(member, key);
        }
        let members = keys.keys().copied().collect();
        Ok(Self { members, public: keys, secret: BTreeMap::new() })
    }

    /// The public key that belongs to a secret one.
    #[must_use]
    pub fn public_of(secret: &[u8; 32]) -> [u8; 32] {
        SigningKey::from_bytes(secret).verifying_key().to_bytes()
    }
}

impl Scheme for Ed25519 {
    fn members(&self) -> &[NodeId] {
        &self.members
    }

    fn signs_as(&self, member: NodeId) -> bool {
        self.secret.contains_key(&member)
    }

    fn sign(&self, member: NodeId, message: &[u8]) -> Option<Signature> {
        let signature = self.secret.get(&member)?.sign(message);
        Some(Signature { r: *signature.r_bytes(), s: *signature.s_bytes() })
    }

    /// Strictly: signatures with a part of small order, which some verifiers accept and others refuse, are refused.
    // [B3]
    fn verify(&self, member: NodeId, message: &[u8], signature: &Signature) -> bool {
        let Some(key) = self.public.get(&member) else { return false };
        let signature = ed25519_dalek::Signature::from_components(signature.r, signature.s);
        key.verify_strict(message, &signature).is_ok()
    }
}

/// No secret is ever printed.
impl fmt::Debug for Ed25519 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ours: Vec<_> = self.secret.keys().collect();
        f.debug_struct("Ed25519").field("members", &self.members).field("secret keys of", &ours).finish()
    }
}
