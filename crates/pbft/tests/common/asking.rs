//! Clients with keys of their own.

use super::signing::GROUP;
use super::{Cluster, config, n};
use consensus_core::{ClientId, Event, ProposalId};
use pbft::{
    Ask, ClientConfig, Config, Digest, Ed25519, Identity, Keyring, Request, Scheme, Signature, Vouching,
};
use std::cell::Cell;

/// So many clients are known.
pub const CLIENTS: u64 = 3;

fn secret(client: ClientId) -> [u8; 32] {
    Digest::of(b"a client of a test", &client.to_bits().to_le_bytes()).0
}

fn public(client: ClientId) -> (ClientId, [u8; 32]) {
    (client, Ed25519::public_of(&secret(client)))
}

/// The keys of one client.
pub fn keys_of(client: u64) -> Keyring<ClientId> {
    let client = ClientId::known(client);
    Keyring::new(Ed25519::new(client, &secret(client), [public(client)]).unwrap())
}

thread_local! {
    static CHECKED: Cell<u64> = const { Cell::new(0) };
}

/// How many signatures of clients the replicas of this test have checked since this was last asked.
pub fn checked() -> u64 {
    CHECKED.take()
}

/// What replicas know of clients, and a count of what is done with it.
#[derive(Debug)]
struct Counting(Ed25519<ClientId>);

impl Scheme<ClientId> for Counting {
    fn members(&self) -> &[ClientId] {
        self.0.members()
    }

    fn signs_as(&self, client: ClientId) -> bool {
        self.0.signs_as(client)
    }

    fn sign(&self, client: ClientId, message: &[u8]) -> Option<Signature> {
        self.0.sign(client, message)
    }

    fn verify(&self, client: ClientId, message: &[u8], signature: &Signature) -> bool {
        CHECKED.set(CHECKED.get() + 1);
        self.0.verify(client, message, signature)
    }
}

/// Clients 1 to 3 sign.
pub fn signed() -> Config {
    let clients = Ed25519::of_public((1..=CLIENTS).map(|client| public(ClientId::known(client)))).unwrap();
    Config { vouching: Vouching::Signed, clients: Keyring::new(Counting(clients)), ..config() }
}

pub fn name(client: u64, number: u64) -> ProposalId {
    ProposalId::new(ClientId::known(client), number)
}

/// The signature of a client, for a group.
pub fn sign(client: u64, ask: Ask, group: u64) -> Signature {
    keys_of(client).sign(ClientId::known(client), &ask.to_bytes(group)).unwrap()
}

/// A client asks for this.
pub fn asks(client: u64, number: u64, command: &str) -> Request {
    let id = name(client, number);
    Request::signed(id, command.as_bytes(), &sign(client, Ask::of(id, command.as_bytes()), GROUP))
}

pub fn client(number: u64, size: u64) -> pbft::Client {
    let members = consensus_core::Members::of((1..=size).map(n));
    let identity = Identity::Signed { client: ClientId::known(number), keys: keys_of(number), group: GROUP };
    pbft::Client::new(ClientConfig::new(members, identity, 1)).unwrap()
}

impl Cluster {
    pub fn ask(&mut self, at: u64, request: &Request) {
        let (id, payload) = (request.id(), request.payload().clone());
        self.handle(n(at), Event::Propose { id, payload });
    }

    pub fn ask_all(&mut self, request: &Request) {
        self.up().into_iter().for_each(|at| self.ask(at, request));
    }
}
