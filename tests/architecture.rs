//! The arrows between modules and the fences around third-party crates, read from the source.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::path::Path;

/// Modules of the crate and the layer each is on. A module uses lower layers only.
const LAYERS: [(&str, u8); 20] = [
    ("error", 0),
    ("limits", 0),
    ("model", 0),
    ("config", 0),
    ("telemetry", 0),
    ("sys", 0),
    ("tiers", 1),
    ("nfr", 1),
    ("bus", 1),
    ("client", 1),
    ("store", 1),
    ("catalog", 2),
    ("state", 2),
    ("actors", 3),
    ("control", 3),
    ("functions", 4),
    ("gateway", 5),
    ("cli", 5),
    ("node", 6),
    ("main", 6),
];

/// Uses between modules of one layer that are wanted all the same.
const SIDEWAYS: [(&str, &str); 1] = [("tiers", "store")];

/// Third-party names and the only places that may know them.
const FENCES: [(&str, &[&str]); 25] = [
    ("actix::", &["src/actors/runtime.rs"]),
    ("actix_web::", &["src/gateway/"]),
    ("async_nats::", &["src/bus/nats.rs"]),
    ("object_store::", &["src/tiers/cloud.rs"]),
    ("wasmtime::", &["src/functions/runtime/wasm.rs"]),
    ("redb::", &["src/store/db.rs", "src/store/backend.rs"]),
    ("aws_lc_rs::", &["src/nfr/engine.rs"]),
    ("zstd::", &["src/nfr/compress.rs"]),
    ("lz4_flex::", &["src/nfr/compress.rs"]),
    ("blake3::", &["src/nfr/", "src/client/pull.rs", "src/store/sim_disk.rs"]),
    ("crc32fast::", &["src/nfr/frame.rs", "src/store/records.rs"]),
    ("postcard::", &["src/store/records.rs"]),
    ("dashmap::", &["src/tiers/memory.rs"]),
    ("crossbeam_queue::", &["src/tiers/memory.rs"]),
    ("rayon::", &["src/actors/cpu.rs"]),
    ("reqwest::", &["src/client/"]),
    ("percent_encoding::", &["src/client/"]),
    ("clap::", &["src/cli/"]),
    ("indicatif::", &["src/cli/"]),
    ("toml::", &["src/config/", "src/cli/config.rs", "src/nfr/keyring.rs"]),
    ("tracing_subscriber::", &["src/telemetry/"]),
    ("libc::", &["src/sys.rs"]),
    // Not crates, but doors to the outside: behaviour gets a `Clock`, an `Rng` and a `Fs` instead.
    ("SystemTime::now", &["src/model/time.rs"]),
    ("Instant::now", &["src/actors/runtime.rs", "src/node/demo/", "src/cli/"]),
    ("std::fs", &["src/store/real.rs", "src/node/", "src/cli/"]),
];

/// What is wrong with one file.
fn faults(path: &str, source: &str) -> Vec<String> {
    let inside = path.strip_prefix("src/").unwrap();
    let module = inside.split('/').next().unwrap().trim_end_matches(".rs");
    let mut out = Vec::new();
    for (number, line) in production(path, source) {
        let mut complain = |what: String| out.push(format!("{path}:{number}: {what}"));
        for used in line.split("crate::").skip(1) {
            // `crate::{a, b}` would hide the names from this reader.
            if used.starts_with('{') {
                complain("write one `use crate::module` a line".to_owned());
            }
            let name: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !allowed(module, &name) {
                complain(format!("`{module}` may not use `{name}`"));
            }
        }
        for (name, places) in FENCES {
            if mentions(line, name) && !places.iter().any(|place| path.starts_with(place)) {
                complain(format!("`{name}` outside its fence"));
            }
        }
        if path != "src/sys.rs"
            && (mentions(line, "unsafe {") || mentions(line, "unsafe fn") || mentions(line, "unsafe impl"))
        {
            complain("unsafe code".to_owned());
        }
    }
    out
}

/// Whether one module may name another.
fn allowed(module: &str, used: &str) -> bool {
    let layer = |name: &str| LAYERS.iter().find(|(known, _)| *known == name).map(|(_, layer)| *layer);
    // The crate root re-exports the error type and nothing else.
    if matches!(used, "Error" | "Kind" | "Result") || used == module {
        return true;
    }
    let (Some(own), Some(other)) = (layer(module), layer(used)) else { return module == "lib" };
    other < own || own == 0 && other == 0 || SIDEWAYS.contains(&(module, used))
}

fn mentions(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// The numbered lines of a file that are neither comments nor tests.
fn production<'a>(path: &str, source: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let is_test = ["/tests.rs", "/tests/", "_tests.rs", "conformance.rs", "simulation.rs", "client/fake.rs"]
        .iter()
        .any(|name| path.contains(name));
    let end = if is_test { 0 } else { usize::MAX };
    let lines = source.lines().take_while(|line| line.trim() != "mod tests {");
    lines
        .enumerate()
        .map(|(at, line)| (at + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .take(end)
}

fn sources(folder: &Path, out: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().to_str().unwrap();
            out.push((name.to_owned(), fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn every_arrow_points_down_and_every_crate_is_inside_its_fence() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(files.len() > 50, "the reader found only {} files", files.len());
    let faults: Vec<String> = files.iter().flat_map(|(path, source)| faults(path, source)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_planted_wrong_arrow_is_seen() {
    for (path, line) in [
        ("src/model/chunks.rs", "use crate::tiers::Tier;"),
        ("src/tiers/memory.rs", "let key = crate::nfr::Keyring::parse(text);"),
        ("src/gateway/server.rs", "use crate::cli::Cli;"),
        ("src/actors/push.rs", "use crate::node;"),
        ("src/tiers/tier.rs", "use crate::{nfr, store};"),
    ] {
        assert_eq!(faults(path, &format!("//! x\n{line}\n")).len(), 1 + usize::from(line.contains('{')), "{line}");
    }
    assert!(faults("src/tiers/disk/mod.rs", "use crate::store::Store;\nuse crate::error::Error;\n").is_empty());
}

#[test]
fn a_planted_crate_outside_its_fence_is_seen() {
    for (path, line) in [
        ("src/actors/disk.rs", "use actix::Actor;"),
        ("src/actors/runtime.rs", "use actix_web::App;"),
        ("src/tiers/keeper.rs", "let db = redb::Database::create(path);"),
        ("src/actors/push.rs", "std::fs::write(path, bytes)?;"),
        ("src/tiers/memory.rs", "unsafe { x() }"),
    ] {
        assert_eq!(faults(path, line).len(), 1, "{line}");
    }
    assert!(faults("src/actors/runtime.rs", "use actix::Actor;").is_empty());
    assert!(faults("src/tiers/keeper.rs", "// redb::Database is not named here\n").is_empty());
}
