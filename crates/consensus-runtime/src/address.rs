//! Where a peer listens: what operators write, what travels through logs, and what is dialled. It is checked where it enters,
//! and a name is looked up anew with every attempt to connect, since machines move.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// The longest name of a host (RFC 1035), in bytes.
const MAX_HOST_BYTES: usize = 253;

/// `HOST:PORT`, where the host is a name or an address (in brackets if it has colons).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerAddress(String);

/// What is no address of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// There is no port, or none that is a number below 65536.
    #[error("give HOST:PORT, as in 127.0.0.1:7001")]
    Port,
    /// Nobody can be reached there.
    #[error("port 0 is no address: peers need the real port")]
    PortZero,
    /// The host is empty, too long, or has characters that no name has.
    #[error(
        "the host is no name and no address: give HOST:PORT, as in 127.0.0.1:7001, db1.example:7001 or [::1]:7001"
    )]
    Host,
}

impl PeerAddress {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same, if it is an address rather than a name.
    #[must_use]
    pub fn as_socket(&self) -> Option<SocketAddr> {
        self.0.parse().ok()
    }

    /// Where to listen so that peers who dial this address find us: there; at all interfaces if it is a name.
    #[must_use]
    pub fn to_listen(&self) -> SocketAddr {
        self.as_socket().unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], self.port())))
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(0)
    }
}

impl FromStr for PeerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = text.rsplit_once(':').ok_or(AddressError::Port)?;
        // Nothing but digits: `parse` would take a sign.
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AddressError::Port);
        }
        match port.parse::<u16>() {
            Ok(0) => return Err(AddressError::PortZero),
            Ok(_) => {}
            Err(_) => return Err(AddressError::Port),
        }
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let is_name = (1..=MAX_HOST_BYTES).contains(&host.len()) && host.bytes().all(is_part);
        if is_name || text.parse::<SocketAddr>().is_ok() {
            Ok(Self(text.into()))
        } else {
            Err(AddressError::Host)
        }
    }
}

impl From<SocketAddr> for PeerAddress {
    fn from(address: SocketAddr) -> Self {
        Self(address.to_string())
    }
}

impl TryFrom<String> for PeerAddress {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<PeerAddress> for String {
    fn from(address: PeerAddress) -> Self {
        address.0
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus_core::wire;
    use proptest::prelude::*;

    #[test]
    fn names_and_addresses_are_told_from_the_rest() {
        for good in ["127.0.0.1:7001", "db-1.example_x.:1", "[::1]:65535", "h:80"] {
            let address: PeerAddress = good.parse().unwrap();
            assert_eq!(address.to_string(), good);
            assert_eq!(wire::decode::<PeerAddress>(&wire::encode(&address), 1 << 10), Ok(address));
        }
        let long = format!("{}:1", "a".repeat(MAX_HOST_BYTES + 1));
        let rows = [
            ("", AddressError::Port),
            ("7001", AddressError::Port),
            ("h:", AddressError::Port),
            ("h:+1", AddressError::Port),
            ("h:65536", AddressError::Port),
            ("h:0", AddressError::PortZero),
            (":1", AddressError::Host),
            ("a b:1", AddressError::Host),
            ("http://h:1", AddressError::Host),
            ("::1:1", AddressError::Host),
            ("h/x:1", AddressError::Host),
            (&long, AddressError::Host),
        ];
        for (bad, error) in rows {
            assert_eq!(bad.parse::<PeerAddress>(), Err(error), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_is_taken_is_kept(text in ".{0,40}") {
            if let Ok(address) = text.parse::<PeerAddress>() {
                prop_assert_eq!(address.as_str(), text);
                prop_assert!(address.port() > 0);
            }
        }
    }
}
