//! Keyrings on their way: one byte says what the rest is. `e`: edits of four bytes (what, where, with what) of a good
//! export; `x`: the text of an export; any other: the text of a keyring.

use std::sync::LazyLock;

use meshstore::Kind;
use meshstore::model::{Address, ContainerId, FrameId, Rest, Seal, SeededRng, Version};
use meshstore::nfr::{self, DataKey, Keyring};

use super::common::{Input, fine, within};

const PASSPHRASE: &str = "correct horse battery";

/// Two keys, exported at the least cost.
static EXPORT: LazyLock<(String, String)> = LazyLock::new(|| {
    let rng = SeededRng::new(3);
    let mut ring = Keyring::generate(&rng);
    ring.add(&rng).unwrap();
    (ring.render().to_string(), nfr::fuzzing::cheap_export(&ring, PASSPHRASE, &rng).unwrap())
});

/// An export opens to the keys that went in, or not at all; an error never tells a secret; a keyring is what it
/// shows; and no file makes its reader take more memory than the costs it names.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() {
        b'e' => {
            let mut text = EXPORT.1.clone().into_bytes();
            edit(&mut text, &mut input);
            exported(&String::from_utf8_lossy(&text));
        }
        b'x' => exported(&String::from_utf8_lossy(input.rest())),
        _ => ring(&String::from_utf8_lossy(data)),
    }
}

fn edit(text: &mut Vec<u8>, input: &mut Input<'_>) {
    for _ in 0..8 {
        if input.0.is_empty() || text.is_empty() {
            return;
        }
        let (what, at, with) = (input.byte(), input.number(2) as usize % text.len(), input.byte());
        match what % 5 {
            0 => text[at] = with,
            1 => text.insert(at, with),
            2 => drop(text.remove(at)),
            3 => text.truncate(at),
            _ => {
                let other = usize::from(with) % text.len();
                text.swap(at, other);
            }
        }
    }
}

fn exported(text: &str) {
    let Some(memory_kib) = cheap(text) else { return };
    // Beside the costs: what the parser of TOML takes for itself.
    let outcome = within((memory_kib + 1024) * 1024 + 256 * text.len(), || nfr::import(text, PASSPHRASE));
    match &outcome {
        Ok(ring) => assert_eq!(**ring.render(), EXPORT.0, "other keys than were exported"),
        Err(error) => {
            assert!(matches!(error.kind(), Kind::Invalid | Kind::Unauthorised), "{error}");
            // The random keys stand nowhere in an error.
            assert!(!error.to_string().contains(secret()));
        }
    }
    if text == EXPORT.1 {
        assert!(outcome.is_ok(), "the export as it was written did not open");
    }
    let opened = fine(outcome).is_some();
    assert!(!opened || nfr::import(text, "another passphrase").is_err(), "any passphrase opens it");
}

fn secret() -> &'static str {
    EXPORT.0.split('"').nth(5).unwrap()
}

/// What drawing the key costs in KiB, if it is little: the bound on it is the business of the importer's own tests.
fn cheap(text: &str) -> Option<usize> {
    let Ok(table) = text.parse::<toml::Table>() else { return Some(0) };
    let cost = |name: &str| table.get(name).and_then(toml::Value::as_integer).unwrap_or(0);
    let (memory_kib, passes) = (cost("memory_kib"), cost("passes"));
    let refused = memory_kib > 1 << 20 || passes > 64;
    if refused { Some(0) } else { (memory_kib <= 64 && passes <= 2).then_some(memory_kib.max(0) as usize) }
}

fn ring(text: &str) {
    let outcome = Keyring::parse(text);
    if let Err(error) = &outcome {
        // What may be a secret: digits that the message does not say to everybody.
        let words = text.split('"').filter(|word| word.len() >= 24 && word.bytes().all(|b| b.is_ascii_hexdigit()));
        assert!(!words.into_iter().any(|word| error.to_string().contains(word)), "{error} tells a secret");
    }
    let Some(ring) = fine(outcome) else { return };
    let again = Keyring::parse(&ring.render()).unwrap();
    assert_eq!(again.render(), ring.render());
    assert!(again.covers(&ring) && ring.covers(&again) && ring.holds(ring.active()));
    assert!((1..=256).contains(&ring.ids().len()));
    assert!(!format!("{ring:?}").contains(ring.render().split('"').nth(5).unwrap()), "Debug shows a secret");
    let address: Address = "c/k".parse().unwrap();
    let seal = Seal { frame: FrameId([1; 16]), bytes: 9, footer: [2; 32], key: None, inline: true, rest: Rest::Disk };
    let (rng, version) = (SeededRng::new(4), Version { time: 5, container: ContainerId(6) });
    let bound = nfr::binding(&address, version, 7, &seal);
    let wrapped = ring.wrap(&rng, &DataKey::from_bytes([8; 32]), &bound).unwrap();
    again.unwrap(&wrapped, &bound).unwrap();
    assert!(again.unwrap(&wrapped, &nfr::binding(&address, version, 8, &seal)).is_err(), "it opens another object");
}
