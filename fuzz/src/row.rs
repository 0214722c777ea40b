//! What rests: one byte says which record, one how long its key is; then the key, then the row's bytes. The highest
//! numbers stand for a head in the cloud and for a policy as JSON.

use meshstore::control::{from_json, to_json};
use meshstore::model::CollectionPolicy;
use meshstore::store::fuzzing::{RECORDS, deadline, holding, row, value};
use meshstore::tiers::fuzzing::{read_head, write_head};

use super::common::{Input, fine, within};

/// Any bytes that pass a row's checksum are a record or damage, never a panic or a large allocation; a record is
/// written as it was read; and with a single bit of row or key flipped, no row is read at all.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let which = usize::from(input.byte());
    match which {
        254 => return head(input.rest()),
        255 => return policy(input.rest()),
        _ => {}
    }
    let len = usize::from(input.byte());
    let (key, bytes) = (input.take(len), input.rest());
    deadline(key);
    let sealed = row(key, bytes);
    assert_eq!(value(key, sealed.clone()).unwrap(), bytes);
    // One bit is what any checksum must notice; whoever forges it is another matter.
    let mut other = [key, &sealed].concat();
    let bit =
        bytes.iter().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into())) % (other.len() * 8);
    other[bit / 8] ^= 1 << (bit % 8);
    assert!(value(&other[..key.len()], other[key.len()..].to_vec()).is_err(), "a flipped bit was not noticed");
    fine(holding(key, sealed.clone()));
    let again = RECORDS[which % RECORDS.len()];
    assert!(again(key, bytes.to_vec()).is_err() || value(key, bytes.to_vec()).is_ok());
    // serde takes at most a mebibyte on a length's word alone, before it sees what is there.
    let read = within((3 << 20) + 64 * bytes.len(), || fine(again(key, sealed)));
    if let Some(written) = read {
        assert_eq!(again(key, written.clone()).unwrap(), written, "a record is not written as it was read");
    }
}

/// The manifest's JSON, sealed as a head is.
fn head(json: &[u8]) {
    fine(read_head(json));
    let check = blake3::hash(json).to_hex();
    let bytes = [b"{\"head\":", json, b",\"blake3\":\"", check.as_bytes(), b"\"}"].concat();
    let Some((address, manifest)) = within((3 << 20) + 64 * json.len(), || fine(read_head(&bytes))) else { return };
    let written = write_head(&address, &manifest).unwrap();
    assert_eq!(read_head(&written).unwrap(), (address, manifest));
    for at in [9, written.len() / 2, written.len() - 3] {
        let mut other = written.clone();
        other[at] ^= 1;
        assert!(read_head(&other).is_err(), "a head that was changed was read");
    }
}

fn policy(json: &[u8]) {
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_slice(json) else { return };
    let Some(policy) = fine(from_json(&fields, CollectionPolicy::default())) else { return };
    let serde_json::Value::Object(shown) = to_json(&policy) else { panic!("a policy is no object") };
    assert_eq!(from_json(&shown, CollectionPolicy::default()).unwrap(), policy, "a policy is not what it shows");
}
