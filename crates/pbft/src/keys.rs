//! Who may sign what: the keys of a group's members, and of its clients.

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

/// What a signer is called by: [`NodeId`] for members, [`consensus_core::ClientId`] for clients.
pub trait Name: Copy + Ord + fmt::Debug + Send + Sync + 'static {}

impl<I: Copy + Ord + fmt::Debug + Send + Sync + 'static> Name for I {}

/// A scheme of signatures, with the keys of a group's members, or of its clients: [`Ed25519`], or one that asks a device for its
/// signatures.
///
/// Both are functions of what they are given: a message that verifies at one correct replica verifies at all.
pub trait Scheme<I = NodeId>: fmt::Debug + Send + Sync {
    /// Those whose public keys are known, in ascending order.
    fn members(&self) -> &[I];
    /// Whether we can sign as this one.
    fn signs_as(&self, member: I) -> bool;
    /// Our signature as this one; `None` if we cannot sign as it.
    fn sign(&self, member: I, message: &[u8]) -> Option<Signature>;
    /// Whether this one signed that.
    fn verify(&self, member: I, message: &[u8], signature: &Signature) -> bool;
}

/// The keys of a group's members, or of its clients: cheap to clone.
#[derive(Clone)]
pub struct Keyring<I = NodeId>(Arc<dyn Scheme<I>>);

impl<I: Name> Keyring<I> {
    /// These keys.
    pub fn new(scheme: impl Scheme<I> + 'static) -> Self {
        Self(Arc::new(scheme))
    }
}

/// Without keys: no configuration that needs some is valid with it.
impl<I: Name> Default for Keyring<I> {
    fn default() -> Self {
        Self::new(Ed25519 { members: Vec::new(), public: BTreeMap::new(), secret: BTreeMap::new() })
    }
}

impl<I: 'static> core::ops::Deref for Keyring<I> {
    type Target = dyn Scheme<I>;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl<I: 'static> fmt::Debug for Keyring<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// ed25519 keys: the public ones of all, and our own secret one.
pub struct Ed25519<I = NodeId> {
    members: Vec<I>,
    public: BTreeMap<I, VerifyingKey>,
    secret: BTreeMap<I, SigningKey>,
}

/// Keys that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError<I = NodeId> {
    /// These 32 bytes are no point of the curve, or one of small order, under which a signature fits many messages.
    #[error("the public key of {0:?} is not a usable ed25519 key: have its owner generate it again")]
    Unusable(I),
    /// Two with one key would count twice.
    #[error("{0:?} and {1:?} have the same public key: each needs its own")]
    Shared(I, I),
    /// A secret that belongs to another public key.
    #[error(
        "the secret key does not belong to the public key of {0:?}: one of the two is somebody else's or an older one"
    )]
    Mismatch(I),
}

impl<I: Name> Ed25519<I> {
    /// The public keys of all, and the secret key (RFC 8032 §5.1.5: 32 random bytes) of `id`.
    ///
    /// # Errors
    /// A public key cannot be used, is somebody else's too, or does not belong to the secret one.
    pub fn new(
        id: I,
        secret: &[u8; 32],
        public: impl IntoIterator<Item = (I, [u8; 32])>,
    ) -> Result<Self, KeyError<I>> {
        let (all, secret) = (Self::of_public(public)?, SigningKey::from_bytes(secret));
        if all.public.get(&id) != Some(&secret.verifying_key()) {
            return Err(KeyError::Mismatch(id));
        }
        Ok(Self { secret: [(id, secret)].into(), ..all })
    }

    /// The public keys of all, for whoever checks what they signed and signs nothing.
    ///
    /// # Errors
    /// A public key cannot be used, or is somebody else's too.
    pub fn of_public(public: impl IntoIterator<Item = (I, [u8; 32])>) -> Result<Self, KeyError<I>> {
        let (mut keys, mut owners) = (BTreeMap::new(), BTreeMap::new());
        for (member, bytes) in public {
            let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::Unusable(member))?;
            if key.is_weak() {
                return Err(KeyError::Unusable(member));
            }
            if let Some(twin) = owners.insert(key.to_bytes(), member).filter(|&twin| twin != member) {
                return Err(KeyError::Shared(twin, member));
            }
            keys.insert(member, key);
        }
        let members = keys.keys().copied().collect();
        Ok(Self { members, public: keys, secret: BTreeMap::new() })
    }
}

impl Ed25519 {
    /// The public key that belongs to a secret one.
    #[must_use]
    pub fn public_of(secret: &[u8; 32]) -> [u8; 32] {
        SigningKey::from_bytes(secret).verifying_key().to_bytes()
    }
}

impl<I: Name> Scheme<I> for Ed25519<I> {
    fn members(&self) -> &[I] {
        &self.members
    }

    fn signs_as(&self, member: I) -> bool {
        self.secret.contains_key(&member)
    }

    fn sign(&self, member: I, message: &[u8]) -> Option<Signature> {
        let signature = self.secret.get(&member)?.sign(message);
        Some(Signature { r: *signature.r_bytes(), s: *signature.s_bytes() })
    }

    /// Strictly: signatures with a part of small order, which some verifiers accept and others refuse, are refused.
    // [B3]
    fn verify(&self, member: I, message: &[u8], signature: &Signature) -> bool {
        let Some(key) = self.public.get(&member) else { return false };
        let signature = ed25519_dalek::Signature::from_components(signature.r, signature.s);
        key.verify_strict(message, &signature).is_ok()
    }
}

/// No secret is ever printed.
impl<I: fmt::Debug> fmt::Debug for Ed25519<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ours: Vec<_> = self.secret.keys().collect();
        f.debug_struct("Ed25519").field("members", &self.members).field("secret keys of", &ours).finish()
    }
}
