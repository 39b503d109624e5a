//! `kvstore evidence`: whether members have lied, for whoever has their public keys and trusts nobody.

use super::by_number;
use super::serve::member_key;
use anyhow::Context;
use clap::Args;
use consensus_core::{ClusterId, NodeId};
use kvstore::keys::{KEY_BYTES, bytes_of};
use kvstore::profile::examine;
use std::io::{Read, Write};
use std::path::PathBuf;

/// The longest file that is looked at, in bytes.
const MAX_BYTES: u64 = 1 << 20;

#[derive(Args)]
#[command(after_help = "A member shows what it has found:\n  \
    curl http://127.0.0.1:2379/evidence > found; kvstore evidence found --cluster-id 1 --member-keys 1=…,2=…,3=…,4=…")]
pub(super) struct Evidence {
    /// The file with what a member shows at /evidence, one line for each proof
    file: PathBuf,
    /// The number of the cluster
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    cluster_id: u64,
    /// The public keys of all members
    #[arg(long, value_name = "ID=KEY,…", value_delimiter = ',', value_parser = member_key, required = true)]
    member_keys: Vec<(u64, [u8; KEY_BYTES])>,
}

impl Evidence {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let public = by_number("--member-keys", &self.member_keys)?;
        let public = public.into_iter().map(|(id, key)| (NodeId(id), key)).collect();
        let place = self.file.display();
        let file = std::fs::File::open(&self.file).with_context(|| format!("{place} cannot be read"))?;
        let mut text = String::new();
        file.take(MAX_BYTES).read_to_string(&mut text).with_context(|| format!("{place} is no text"))?;
        let lines = (1..).zip(text.lines().map(str::trim)).filter(|(_, line)| !line.is_empty());
        let mut proven = 0;
        for (number, line) in lines {
            let verdict = bytes_of(line).ok_or("it is not hexadecimal".to_owned());
            let verdict = verdict.and_then(|proof| examine(&proof, ClusterId(self.cluster_id), &public));
            let verdict = verdict.map_err(|problem| anyhow::anyhow!("{place}, line {number}: {problem}"))?;
            writeln!(std::io::stdout(), "proven: {verdict}")?;
            proven += 1;
        }
        anyhow::ensure!(proven > 0, "{place} holds no proofs");
        Ok(())
    }
}
