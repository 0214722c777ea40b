//! A keyring on its way: sealed under a passphrase, so that a copy for bad days can lie anywhere.
//!
//! A text file of TOML: how the key was drawn from the passphrase (Argon2id), a nonce, and the keyring's own
//! text under AES-256-GCM. What stands before the sealed part is bound to it.

use argon2::{Algorithm, Argon2, Params};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::engine::DataKey;
use super::keyring::{Keyring, hex};
use crate::error::{Error, Kind, Result};
use crate::limits::{KEYS_FILE_BYTES_MAX, PASSPHRASE_CHARS_MIN};
use crate::model::{Rng, from_hex};

const FORMAT: u32 = 1;
/// What drawing the key costs: about a tenth of a second here, and as much memory for each guess elsewhere.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
/// The most that a file may ask for, so that a forged one cannot exhaust who reads it.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
const PASSES_MAX: u32 = 64;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    meshstore_keyring: u32,
    memory_kib: u32,
    passes: u32,
    salt: String,
    nonce: String,
    sealed: String,
}

/// The keyring under this passphrase.
pub fn export(ring: &Keyring, passphrase: &str, rng: &dyn Rng) -> Result<String> {
    export_at(MEMORY_KIB, PASSES, ring, passphrase, rng)
}

/// The same at costs of the caller's own choice.
pub(super) fn export_at(
    memory_kib: u32,
    passes: u32,
    ring: &Keyring,
    passphrase: &str,
    rng: &dyn Rng,
) -> Result<String> {
    check(passphrase)?;
    let (mut salt, mut nonce) = ([0; 16], [0; 12]);
    rng.fill(&mut salt);
    rng.fill(&mut nonce);
    let mut file = File {
        meshstore_keyring: FORMAT,
        memory_kib,
        passes,
        salt: hex(&salt),
        nonce: hex(&nonce),
        sealed: String::new(),
    };
    let mut text = Zeroizing::new(ring.render().as_bytes().to_vec());
    let tag = drawn(&file, passphrase, &salt)?.cipher()?.seal(nonce, &bound(&file), &mut text)?;
    file.sealed = hex(&[&text[..], &tag].concat());
    let body = toml::to_string(&file).map_err(|error| Error::internal("cannot write the export").because(error))?;
    Ok(format!("# A keyring of MeshStore, sealed under a passphrase: `meshstore key import` reads it.\n{body}"))
}

/// The keyring that was exported under this passphrase.
pub fn import(text: &str, passphrase: &str) -> Result<Keyring> {
    let bad = || Error::invalid("this is no keyring that was exported, or a part of it is missing");
    let file: File = toml::from_str(text).map_err(|_| bad())?;
    if file.meshstore_keyring != FORMAT {
        return Err(Error::invalid("the export has an unknown format; a newer program wrote it")
            .with("format", file.meshstore_keyring));
    }
    if file.memory_kib > MEMORY_KIB_MAX || file.passes > PASSES_MAX {
        return Err(Error::invalid(
            "the export asks for more memory or time than any that was written by this program",
        ));
    }
    let (salt, nonce) = (from_hex::<16>(&file.salt).ok_or_else(bad)?, from_hex(&file.nonce).ok_or_else(bad)?);
    let sealed = bytes_of(&file.sealed).ok_or_else(bad)?;
    let opened = drawn(&file, passphrase, &salt)?.cipher()?.open(nonce, &bound(&file), &sealed).map(Zeroizing::new);
    let opened = opened
        .ok_or_else(|| Error::new(Kind::Unauthorised, "the passphrase is another one, or the export was altered"))?;
    Keyring::parse(std::str::from_utf8(&opened).map_err(|_| bad())?)
}

fn check(passphrase: &str) -> Result<()> {
    if passphrase.chars().count() < PASSPHRASE_CHARS_MIN {
        let why = "the passphrase is too short; whoever finds the export may guess for as long as they like";
        return Err(Error::invalid(why).with("characters_min", PASSPHRASE_CHARS_MIN));
    }
    Ok(())
}

fn drawn(file: &File, passphrase: &str, salt: &[u8]) -> Result<DataKey> {
    let params = Params::new(file.memory_kib, file.passes, 1, Some(32));
    let params = params.map_err(|_| Error::invalid("the export names impossible costs"))?;
    let mut key = Zeroizing::new([0; 32]);
    let argon = Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params);
    argon
        .hash_password_into(passphrase.as_bytes(), salt, &mut *key)
        .map_err(|_| Error::internal("cannot draw a key from the passphrase"))?;
    Ok(DataKey::from_bytes(*key))
}

/// What the sealed part is bound to.
fn bound(file: &File) -> Vec<u8> {
    let File { meshstore_keyring, memory_kib, passes, salt, nonce, .. } = file;
    format!("meshstore keyring {meshstore_keyring} {memory_kib} {passes} {salt} {nonce}").into_bytes()
}

fn bytes_of(text: &str) -> Option<Vec<u8>> {
    if text.len() as u64 > 2 * KEYS_FILE_BYTES_MAX || !text.len().is_multiple_of(2) {
        return None;
    }
    let pairs = text.as_bytes().chunks_exact(2).map(|pair| from_hex::<1>(std::str::from_utf8(pair).ok()?));
    pairs.map(|byte| byte.map(|[byte]| byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SeededRng;

    const PASSPHRASE: &str = "correct horse battery";

    #[test]
    fn what_was_exported_is_read_back_with_its_passphrase_only() {
        let rng = SeededRng::new(1);
        let ring = Keyring::generate(&rng);
        let text = export(&ring, PASSPHRASE, &rng).unwrap();
        assert_eq!(*import(&text, PASSPHRASE).unwrap().render(), *ring.render());
        let secret = ring.render().split('"').nth(5).unwrap().to_owned();
        assert!(secret.len() == 64 && !text.contains(&secret) && !text.contains(PASSPHRASE));
        assert_eq!(import(&text, "correct horse batter").unwrap_err().kind(), Kind::Unauthorised);
        assert!(export(&ring, "short", &rng).is_err());
    }

    #[test]
    fn an_export_that_was_altered_cut_or_made_dear_is_refused() {
        let rng = SeededRng::new(2);
        let text = export(&Keyring::generate(&rng), PASSPHRASE, &rng).unwrap();
        let set = |field: &str, value: &str| {
            let line = text.lines().find(|line| line.starts_with(field)).unwrap();
            text.replace(line, &format!("{field} = {value}"))
        };
        let sealed = text.lines().find_map(|line| line.strip_prefix("sealed = \"")).unwrap().trim_end_matches('"');
        let flipped = if sealed.starts_with('0') { "1" } else { "0" };
        for (altered, kind) in [
            (set("sealed", &format!("\"{flipped}{}\"", &sealed[1..])), Kind::Unauthorised),
            (set("sealed", "\"\""), Kind::Unauthorised),
            (set("sealed", "\"0\""), Kind::Invalid),
            (set("sealed", &format!("\"é{}\"", &sealed[2..])), Kind::Invalid),
            (set("passes", "4"), Kind::Unauthorised),
            (set("passes", "0"), Kind::Invalid),
            (set("passes", "4000000000"), Kind::Invalid),
            (set("memory_kib", "4000000000"), Kind::Invalid),
            (set("salt", "\"00\""), Kind::Invalid),
            (set("meshstore_keyring", "2"), Kind::Invalid),
            ("nonsense".to_owned(), Kind::Invalid),
        ] {
            assert_eq!(import(&altered, PASSPHRASE).unwrap_err().kind(), kind, "{altered}");
        }
    }
}
