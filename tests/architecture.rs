//! The arrows between modules and the fences around third-party crates, read from the source.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::path::Path;

/// Modules of the crate and the layer each is on. A module uses lower layers only.
const LAYERS: [(&str, u8); 23] = [
    ("error", 0),
    ("limits", 0),
    ("model", 0),
    ("private", 0),
    ("config", 0),
    ("telemetry", 0),
    ("sys", 0),
    ("wire", 0),
    ("tiers", 1),
    ("nfr", 1),
    ("bus", 1),
    ("client", 1),
    ("store", 1),
    ("catalog", 2),
    ("state", 2),
    ("actors", 3),
    ("site", 3),
    ("control", 2),
    ("functions", 4),
    ("gateway", 5),
    ("cli", 5),
    ("node", 6),
    ("main", 6),
];

/// Uses between modules of one layer that are wanted all the same.
const SIDEWAYS: [(&str, &str); 1] = [("tiers", "store")];

/// Third-party names and the only places that may know them.
const FENCES: [(&str, &[&str]); 37] = [
    ("actix::", &["src/actors/runtime.rs"]),
    ("actix_web::", &["src/gateway/"]),
    ("actix_tls::", &["src/gateway/places.rs"]),
    ("async_nats::", &["src/bus/nats/"]),
    ("object_store::", &["src/tiers/cloud/"]),
    ("wasmtime::", &["src/functions/runtime/wasm.rs"]),
    ("redb::", &["src/store/db.rs", "src/store/backend.rs"]),
    ("mimalloc::", &["src/main.rs"]),
    ("libmimalloc_sys::", &["src/sys.rs"]),
    ("argon2::", &["src/nfr/export.rs"]),
    ("rpassword::", &["src/cli/"]),
    ("aws_lc_rs::", &["src/nfr/engine/", "src/gateway/tls.rs", "src/client/tls.rs"]),
    ("zstd::", &["src/nfr/compress.rs"]),
    ("lz4_flex::", &["src/nfr/compress.rs"]),
    (
        "blake3::",
        &[
            "src/nfr/",
            "src/control/tokens.rs",
            "src/client/pull.rs",
            "src/store/sim_disk.rs",
            "src/tiers/cloud/",
            "src/tiers/copies.rs",
        ],
    ),
    ("crc32fast::", &["src/nfr/frame.rs", "src/store/records.rs"]),
    ("twox_hash::", &["src/store/salvage/pages.rs", "src/store/journal/mod.rs"]),
    ("postcard::", &["src/store/records.rs", "src/site/wire.rs"]),
    ("dashmap::", &["src/tiers/memory.rs"]),
    ("crossbeam_queue::", &["src/tiers/memory.rs"]),
    ("httparse::", &["src/client/direct.rs"]),
    ("reqwest::", &["src/client/"]),
    ("rustls::", &["src/gateway/tls.rs", "src/client/tls.rs"]),
    ("percent_encoding::", &["src/client/", "src/bus/nats/"]),
    ("clap::", &["src/cli/"]),
    ("clap_complete::", &["src/cli/generate.rs"]),
    ("clap_mangen::", &["src/cli/generate.rs"]),
    ("indicatif::", &["src/cli/"]),
    (
        "toml::",
        &[
            "src/config/",
            "src/cli/config.rs",
            "src/cli/policy.rs",
            "src/cli/site/invitation.rs",
            "src/nfr/keyring.rs",
            "src/nfr/export.rs",
        ],
    ),
    ("tracing_subscriber::", &["src/telemetry/"]),
    ("libc::", &["src/sys.rs"]),
    // Not crates, but doors to the outside: behaviour gets a `Clock`, an `Rng` and a `Fs` instead.
    ("SystemTime::now", &["src/model/time.rs"]),
    (
        "Instant::now",
        &[
            "src/model/time.rs",
            "src/actors/runtime.rs",
            "src/gateway/linger.rs",
            "src/gateway/rate.rs",
            "src/node/demo/",
            "src/node/ground.rs",
            "src/node/simulate.rs",
            "src/node/serve.rs",
            "src/cli/",
        ],
    ),
    ("std::fs", &["src/store/real.rs", "src/private.rs", "src/control/keyfile.rs", "src/node/", "src/cli/"]),
    ("tokio::fs", &[]),
    // The fuse is for tests: no release build has it.
    ("std::env", &["src/node/", "src/cli/", "src/actors/fuse.rs"]),
    // One thread that does nothing else; whoever runs tasks or serves messages never sleeps.
    ("thread::sleep", &["src/sys.rs"]),
];

/// Dependencies that any module may name: they carry bytes, words and waiting, and decide nothing.
const FREE: [&str; 7] = ["tokio", "futures-util", "bytes", "serde", "serde_json", "tracing", "zeroize"];

/// What is wrong with one file.
fn faults(path: &str, source: &str) -> Vec<String> {
    let inside = path.strip_prefix("src/").unwrap();
    let module = inside.split('/').next().unwrap().trim_end_matches(".rs");
    let depth = inside.trim_end_matches(".rs").trim_end_matches("/mod").split('/').count();
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
        // From a module this deep, as many `super` lead to the crate's root, past the check above.
        if mentions(line, &"super::".repeat(depth)) {
            complain("`super` leaves the top-level module; name it by `crate::`".to_owned());
        }
        if mentions(line, "std::{") {
            complain("write one `use std::module` a line".to_owned());
        }
        for (name, places) in FENCES {
            if mentions(line, name) && !places.iter().any(|place| path.starts_with(place)) {
                complain(format!("`{name}` outside its fence"));
            }
        }
        let unsafe_code = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe trait", "unsafe extern"];
        if path != "src/sys.rs" && unsafe_code.iter().any(|code| mentions(line, code)) {
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

/// Whether a line names this path. `use actix;` names `actix::` as well.
fn mentions(line: &str, name: &str) -> bool {
    let named = |name: &str, ends: &[char]| {
        line.match_indices(name).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + name.len()..].chars().next();
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
                && (ends.is_empty() || after.is_some_and(|c| ends.contains(&c)))
        })
    };
    let imports = ["use ", "pub use ", "extern crate "].iter().any(|word| line.trim_start().starts_with(word));
    named(name, &[]) || imports && name.strip_suffix("::").is_some_and(|name| named(name, &[';', ' ']))
}

/// The numbered lines of a file that are neither comments nor in a module for tests alone.
fn production<'a>(path: &str, source: &'a str) -> Vec<(usize, &'a str)> {
    let mut out = Vec::new();
    let mut lines = source.lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let inline = lines.peek().is_some_and(|(_, next)| next.contains("mod ") && next.ends_with('{'));
        if line.trim() == "#[cfg(test)]" && inline {
            // The sources are formatted: a module ends where its own indentation closes a brace.
            let end = format!("{indent}}}");
            assert!(lines.any(|(_, line)| line == end), "{path}:{}: a module for tests without an end", at + 1);
        } else if !line.trim_start().starts_with("//") {
            out.push((at + 1, line));
        }
    }
    out
}

/// The files that a `#[cfg(test)] mod name;` names: compiled for tests alone.
fn test_files(path: &str, source: &str) -> Vec<String> {
    let folder = match path.strip_suffix("/mod.rs").or(path.strip_suffix("/lib.rs")) {
        Some(folder) => folder,
        None => path.trim_end_matches(".rs"),
    };
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let names = lines
        .windows(2)
        .filter(|pair| pair[0] == "#[cfg(test)]")
        .filter_map(|pair| pair[1].strip_suffix(';')?.rsplit_once("mod ").map(|(_, name)| name));
    names.map(|name| format!("{folder}/{name}")).collect()
}

/// Every file of the library and the binary that is not for tests alone.
fn shipped() -> Vec<(String, String)> {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(files.len() > 50, "the reader found only {} files", files.len());
    let tests: Vec<String> = files.iter().flat_map(|(path, source)| test_files(path, source)).collect();
    files.retain(|(path, _)| {
        !tests.iter().any(|test| path.strip_prefix(test.as_str()).is_some_and(|rest| rest.starts_with(['.', '/'])))
    });
    files
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
    let faults: Vec<String> = shipped().iter().flat_map(|(path, source)| faults(path, source)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_dependency_is_fenced_or_free_and_some_source_names_it() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let shipped = shipped();
    for name in manifest["dependencies"].as_table().unwrap().keys() {
        let path = format!("{}::", name.replace('-', "_"));
        let fence = FENCES.iter().find(|(fenced, _)| *fenced == path);
        assert!(
            fence.is_some() != FREE.contains(&name.as_str()),
            "say in tests/architecture.rs where `{name}` may be named: in FENCES, or everywhere in FREE"
        );
        // Were it named nowhere, the dependency could go, or the reader would not see it.
        let seen =
            shipped.iter().any(|(file, source)| production(file, source).iter().any(|(_, l)| mentions(l, &path)));
        assert!(seen, "`{name}` is a dependency that no source names");
    }
}

#[test]
fn a_planted_wrong_arrow_is_seen() {
    for (path, line) in [
        ("src/model/chunks.rs", "use crate::tiers::Tier;"),
        ("src/tiers/memory.rs", "let key = crate::nfr::Keyring::parse(text);"),
        ("src/gateway/server.rs", "use crate::cli::Cli;"),
        ("src/actors/push.rs", "use crate::node;"),
        ("src/tiers/tier.rs", "use crate::{nfr, store};"),
        ("src/tiers/tier.rs", "use super::super::nfr::Keyring;"),
        ("src/tiers/mod.rs", "use super::nfr::Keyring;"),
        ("src/newcomer/mod.rs", "use crate::error::Error;"),
    ] {
        assert_eq!(faults(path, &format!("//! x\n{line}\n")).len(), 1 + usize::from(line.contains("::{")), "{line}");
    }
    assert!(faults("src/tiers/eviction/lru.rs", "use super::super::Tier;").is_empty());
    assert!(faults("src/tiers/disk/mod.rs", "use crate::store::Store;\nuse crate::error::Error;\n").is_empty());
}

#[test]
fn a_planted_crate_outside_its_fence_is_seen() {
    for (path, line) in [
        ("src/actors/disk.rs", "use actix::Actor;"),
        ("src/actors/runtime.rs", "use actix_web::App;"),
        ("src/tiers/keeper.rs", "let db = redb::Database::create(path);"),
        ("src/actors/push.rs", "std::fs::write(path, bytes)?;"),
        ("src/actors/push.rs", "use std::{fs, io};"),
        ("src/actors/pull.rs", "let now = std::time::Instant::now();"),
        ("src/actors/disk.rs", "use actix;"),
        ("src/store/db.rs", "pub use actix as runtime;"),
        ("src/tiers/memory.rs", "unsafe { x() }"),
    ] {
        assert_eq!(faults(path, line).len(), 1, "{line}");
    }
    assert!(faults("src/actors/runtime.rs", "use actix::Actor;").is_empty());
    assert!(faults("src/tiers/keeper.rs", "// redb::Database is not named here\n").is_empty());
}

#[test]
fn only_what_is_for_tests_alone_is_passed_over() {
    let source = "#[cfg(test)]\nmod tests {\n    use redb::Database;\n}\nuse redb::Table;\n";
    assert_eq!(faults("src/tiers/keeper.rs", source), ["src/tiers/keeper.rs:5: `redb::` outside its fence"]);
    let source = "mod keeper;\n#[cfg(test)]\nmod conformance;\n";
    assert_eq!(test_files("src/tiers/mod.rs", source), ["src/tiers/conformance"]);
    assert_eq!(test_files("src/lib.rs", source), ["src/conformance"]);
    assert_eq!(test_files("src/tiers/disk.rs", source), ["src/tiers/disk/conformance"]);
}
