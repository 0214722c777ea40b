//! What must hold between keys. What must hold for one key alone is its shape's business.

use std::path::Path;

use super::Config;
use super::fault::Fault;
use super::gather::Given;
use crate::error::Error;
use crate::limits::{BODY_WINDOW_CHUNKS, CHUNK_BYTES};
use crate::model::CloudUrl;

/// Half of the budget is level 1; the other half must hold at least one body's window of chunks.
const BUDGET_BYTES_MIN: u64 = 2 * (BODY_WINDOW_CHUNKS * CHUNK_BYTES) as u64;

/// Adds what does not fit together to `faults`. Keys that are faulty already hold their defaults here.
pub(super) fn check(config: &Config, given: &Given, faults: &mut Vec<Fault>) {
    check_door(config, given, faults);
    let mut fault = |key: &'static str, error: Error| faults.push(Fault::new(key, given.origin(key), error));
    let (memory, store, data) = (&config.memory, &config.store, config.data.dir.as_path());
    if memory.budget_bytes < BUDGET_BYTES_MIN {
        let why = format!("less than {BUDGET_BYTES_MIN} bytes leave no room for even one body; raise it");
        fault("memory.budget_bytes", Error::invalid(why).with("value", memory.budget_bytes));
    }
    let over = |why: &str| Error::invalid(why).with("memory.budget_bytes", memory.budget_bytes);
    if memory.level1_bytes > memory.budget_bytes {
        let why = over("level 1 is part of memory.budget_bytes and cannot be larger");
        fault("memory.level1_bytes", why.with("value", memory.level1_bytes));
    } else if memory.level1_bytes.saturating_add(store.cache_bytes) > memory.budget_bytes {
        let why = over("memory.level1_bytes and store.cache_bytes together cannot be larger than memory.budget_bytes");
        fault(
            "store.cache_bytes",
            why.with("memory.level1_bytes", memory.level1_bytes).with("value", store.cache_bytes),
        );
    }
    // There level 2 keeps its own frames, and removes at a start those that it does not know.
    let own = ["frames", "staging", "quarantine"].map(|name| data.join(name));
    let is_own = |cloud: &&Path| *cloud == data || own.iter().any(|own| cloud.starts_with(own));
    if let Some(cloud) = config.cloud.url.as_ref().and_then(CloudUrl::folder).filter(is_own) {
        let why = "this folder belongs to level 2; name another one for the cloud, such as its subfolder cloud";
        fault("cloud.url", Error::invalid(why).with("data.dir", data.display()).with("value", cloud.display()));
    }
    // A default that follows from data.dir may have no words of its own: `config show` could not say where it is.
    if let Some(cloud) = &config.cloud.url
        && cloud.to_string().parse().ok().as_ref() != Some(cloud)
    {
        let why = "the folder cloud in data.dir reads as something else than a path; begin data.dir with / or ./ and \
                   leave out control characters, or name another cloud";
        // What it reads as may be a URL with a password, so it is not repeated.
        fault("cloud.url", Error::invalid(why));
    }
    if config.data.dir.as_os_str().is_empty() {
        fault(
            "data.dir",
            Error::invalid("there is no home folder to keep data in; name a folder with --data or data.dir"),
        );
    }
}

/// Who listens beyond loopback is reached by strangers.
fn check_door(config: &Config, given: &Given, faults: &mut Vec<Fault>) {
    let mut fault = |key: &'static str, error: Error| faults.push(Fault::new(key, given.origin(key), error));
    let http = &config.http;
    let beyond = !http.addr.ip().is_loopback();
    match (&config.tls.cert, &config.tls.key) {
        (Some(_), None) => fault("tls.key", Error::invalid("a certificate needs its key; name the key's file")),
        (None, Some(_)) => {
            fault("tls.cert", Error::invalid("a key needs its certificate; name the certificate's file"));
        }
        (None, None) if beyond && !http.plaintext => {
            let why = "beyond loopback without TLS all who share the network can read along; name tls.cert and \
                       tls.key, or allow it with http.plaintext = true";
            fault("http.addr", Error::invalid(why).with("value", http.addr));
        }
        _ => {}
    }
    if config.bus.is_beyond_loopback() && !config.auth.required {
        let why = "on a bus beyond loopback tokens are required; leave this out, or use a server on this host";
        fault("auth.required", Error::invalid(why));
    }
    if beyond && !config.auth.required {
        let why = "beyond loopback tokens are required; leave this out, or bind to 127.0.0.1 or ::1";
        fault("auth.required", Error::invalid(why).with("http.addr", http.addr));
    }
}
