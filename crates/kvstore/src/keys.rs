//! The keys of members, where members may lie: a secret one in a file that nobody else may read, and the public ones of all.
//!
//! Both are 32 bytes, written as 64 hexadecimal digits. What they are keys of, the protocol knows ([`crate::profile`]).

use consensus_core::NodeId;
use data_encoding::HEXLOWER_PERMISSIVE as HEX;
use rand::TryRng;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The length of a key, in bytes.
pub const KEY_BYTES: usize = 32;
/// Who may do anything with a secret but its owner.
const OTHERS: u32 = 0o077;

/// A secret key. It is never printed.
#[derive(Clone)]
pub struct Secret([u8; KEY_BYTES]);

/// What a member signs with, and what it knows the others by.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Our own.
    pub secret: Secret,
    /// Those of all members, ours included.
    pub public: BTreeMap<NodeId, [u8; KEY_BYTES]>,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be used.
    #[error("{}: {cause}", place.display())]
    Io {
        /// The file.
        place: PathBuf,
        /// What is wrong.
        cause: io::Error,
    },
    /// A key must not be written over.
    #[error("{} exists already: a member that changes its key is a stranger to the others; choose another file", .0.display())]
    Exists(PathBuf),
    /// The secret is none.
    #[error("{} can be read by others: its owner alone may (chmod 600 {})", .0.display(), .0.display())]
    Exposed(PathBuf),
    /// Something else is in the file.
    #[error("{} holds no key: {} hexadecimal digits, as `kvstore key new` writes them", .0.display(), 2 * KEY_BYTES)]
    Malformed(PathBuf),
}

impl Secret {
    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// Draws a secret, and puts it into a new file that only its owner can read.
    ///
    /// # Errors
    /// The file exists, cannot be written, or the system has no randomness.
    pub fn generate(place: &Path) -> Result<Self, KeyError> {
        let failed = |cause| KeyError::Io { place: place.to_owned(), cause };
        let mut secret = [0; KEY_BYTES];
        rand::rngs::SysRng.try_fill_bytes(&mut secret).map_err(|cause| failed(io::Error::other(cause)))?;
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(place);
        let mut file = opened.map_err(|cause| {
            let exists = cause.kind() == io::ErrorKind::AlreadyExists;
            if exists { KeyError::Exists(place.to_owned()) } else { failed(cause) }
        })?;
        let line = format!("{}\n", HEX.encode(&secret));
        file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(Self(secret))
    }

    /// The secret in a file that only its owner can read.
    ///
    /// # Errors
    /// The file cannot be read, others may read it too, or something else is in it.
    pub fn read(place: &Path) -> Result<Self, KeyError> {
        let failed = |cause| KeyError::Io { place: place.to_owned(), cause };
        let file = File::open(place).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.mode() & OTHERS != 0 {
            return Err(KeyError::Exposed(place.to_owned()));
        }
        let mut text = String::new();
        let read = file.take(4 * KEY_BYTES as u64).read_to_string(&mut text);
        match read.map_err(|cause| cause.kind()) {
            Ok(_) => {}
            Err(io::ErrorKind::InvalidData) => return Err(KeyError::Malformed(place.to_owned())),
            Err(kind) => return Err(failed(kind.into())),
        }
        key(text.trim()).map(Self).ok_or_else(|| KeyError::Malformed(place.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Bytes as they are written; `None` if that is not how.
#[must_use]
pub fn bytes_of(text: &str) -> Option<Vec<u8>> {
    HEX.decode(text.as_bytes()).ok()
}

/// As they are written.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    HEX.encode(bytes)
}

/// A key as it is written; `None` if it is none.
#[must_use]
pub fn key(text: &str) -> Option<[u8; KEY_BYTES]> {
    bytes_of(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_read_by_its_owner_alone_and_never_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("secret");
        let secret = Secret::generate(&place).unwrap();
        assert_eq!(fs::metadata(&place).unwrap().mode() & 0o777, 0o600);
        assert_eq!(Secret::read(&place).unwrap().bytes(), secret.bytes());
        assert!(matches!(Secret::generate(&place), Err(KeyError::Exists(_))));
        fs::set_permissions(&place, Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Secret::read(&place), Err(KeyError::Exposed(_))));
        assert_eq!(format!("{secret:?}"), "Secret");
    }

    #[test]
    fn what_is_no_key_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("secret");
        let long = "ab".repeat(10_000);
        for content in [&b""[..], b"abc", b"\xff\xfe", "zz".repeat(32).as_bytes(), long.as_bytes()] {
            fs::write(&place, content).unwrap();
            fs::set_permissions(&place, Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(Secret::read(&place), Err(KeyError::Malformed(_))), "{content:?}");
        }
        assert!(matches!(Secret::read(&directory.path().join("none")), Err(KeyError::Io { .. })));
        assert_eq!(key(&"AB".repeat(32)), Some([0xab; 32]), "either case");
    }
}
