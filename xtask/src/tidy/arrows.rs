//! Which crate may depend on which. A protocol crate must stay small and free of the operating system, so that it can be
//! used alone, simulated and model-checked.

use crate::run;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::Path;

const PROTOCOLS: &[&str] =
    &["raft", "multipaxos", "pbft", "benor", "twophase", "eventual", "floodset", "nakamoto"];

/// What a protocol crate may take from outside of the workspace.
const PROTOCOL_LIBRARIES: &[&str] = &[
    "bytes",
    "serde",
    "rand",
    "thiserror",
    "sha2",
    "blake3",
    "ed25519-dalek",
    "curve25519-dalek",
    "zeroize",
];

/// What the crates of the workspace may take from each other, besides the protocols.
fn allowed(krate: &str) -> Option<&'static [&'static str]> {
    Some(match krate {
        "consensus-core" | "xtask" => &[],
        "failure-detector" | "consensus-wal" => &["consensus-core"],
        "multipaxos" => &["consensus-core", "failure-detector"],
        "twophase" => &["consensus-core", "multipaxos"],
        "consensus-sim" | "consensus-runtime" => &["consensus-core", "consensus-wal"],
        "conformance" => &["consensus-core", "consensus-wal", "consensus-sim", "failure-detector"],
        "kvstore" => &["consensus-core", "consensus-runtime", "failure-detector"],
        "own-algorithm" | "without-std" => &["consensus-core"],
        protocol if PROTOCOLS.contains(&protocol) => &["consensus-core"],
        _ => return None,
    })
}

fn takes_protocols(krate: &str) -> bool {
    matches!(krate, "conformance" | "kvstore" | "without-std")
}

pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let output = run::cargo()?
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root)
        .output()
        .context("cannot start cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let names: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut broken = Vec::new();
    for package in packages {
        check_package(package, &names, &mut broken);
    }
    Ok(broken)
}

fn check_package(package: &Value, workspace: &[&str], broken: &mut Vec<String>) {
    let name = package["name"].as_str().unwrap_or_default();
    let folder =
        package["manifest_path"].as_str().and_then(|path| Path::new(path).parent()?.file_name()?.to_str());
    if folder != Some(name) {
        broken.push(format!(
            "{name}: its folder has another name; folder = crate name, so that either finds the other"
        ));
    }
    let Some(allowed) = allowed(name) else {
        broken
            .push(format!("{name}: not on the map; add it to xtask/src/tidy/arrows.rs and ARCHITECTURE.md"));
        return;
    };
    let dependencies = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    // Tests may look at anything: only what is linked into users counts.
    for dependency in dependencies.iter().filter(|dependency| dependency["kind"].is_null()) {
        let target = dependency["name"].as_str().unwrap_or_default();
        if workspace.contains(&target) {
            let protocol = takes_protocols(name) && PROTOCOLS.contains(&target);
            if !allowed.contains(&target) && !protocol {
                broken.push(format!("{name} ──► {target}: this arrow is not on the map (ARCHITECTURE.md)"));
            }
        } else if PROTOCOLS.contains(&name) && !PROTOCOL_LIBRARIES.contains(&target) {
            broken.push(format!(
                "{name} ──► {target}: a protocol crate takes only {PROTOCOL_LIBRARIES:?} from outside"
            ));
        }
    }
}
