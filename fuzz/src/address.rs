//! Addresses: one in the first line, another in the second, a raw path in the third.

use meshstore::model::{Address, ContainerId, Name, Version};
use meshstore::{client, gateway, tiers};

use super::common::{Input, fine};

const VERSION: Version = Version { time: 1, container: ContainerId(2) };

/// An address is what it shows, comes through the client's escapes and the door's path unchanged, and its name in
/// the cloud is plain, short, inside its folder and its own also where case is folded.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let (one, other, raw) = (input.text(), input.text(), input.text());
    let addresses = [fine(one.parse::<Address>()), fine(other.parse::<Address>())];
    for (text, address) in [&one, &other].into_iter().zip(&addresses) {
        if let Some(address) = address {
            assert_eq!(address.as_str(), text);
            round(address);
        }
    }
    if let [Some(one), Some(other)] = &addresses {
        let names = [one, other].map(|address| tiers::fuzzing::head_path(address, VERSION).to_lowercase());
        assert_eq!(one == other, names[0] == names[1], "{one} and {other} share {}", names[0]);
    }
    // A path means one object or none; its own spelling of it leads to the same one.
    if let Some(address) = gateway::fuzzing::object(&raw).and_then(fine) {
        round(&address);
    }
    if let Some(text) = fine(gateway::fuzzing::decode(&raw)) {
        assert!(!text.contains('\0'));
        let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        assert_eq!(gateway::fuzzing::decode(&escaped).unwrap(), text);
    }
    for (at, (name, _)) in fine(gateway::fuzzing::query(&raw)).into_iter().flatten().enumerate() {
        let first = gateway::fuzzing::query(&raw).unwrap().iter().position(|(known, _)| *known == name);
        assert_eq!(first, Some(at), "a parameter came twice");
    }
}

fn round(address: &Address) {
    assert_eq!(address.to_string().parse::<Address>().unwrap(), *address);
    let name: Name = address.collection().parse().unwrap();
    assert_eq!(Address::new(&name, address.key()).unwrap(), *address);
    let path = client::path_of(address);
    assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{path}");
    assert_eq!(gateway::fuzzing::object(&path).unwrap().unwrap(), *address);
    folder(address);
}

fn folder(address: &Address) {
    let path = tiers::fuzzing::head_path(address, VERSION);
    let parts: Vec<&str> = path.split('/').collect();
    let ["heads", collection, key, version] = parts[..] else { panic!("{path} is in another folder") };
    assert_eq!((collection, version.parse().ok()), (address.collection(), Some(VERSION)));
    let plain = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'=');
    assert!(key.bytes().all(plain) && !key.starts_with('.') && (1..=200).contains(&key.len()), "{path}");
    assert!(path.len() <= 1024);
    if !key.contains("==") {
        let mut bytes = key.bytes();
        let mut read = Vec::new();
        while let Some(byte) = bytes.next() {
            let hex = |byte: Option<u8>| char::from(byte.unwrap()).to_digit(16).unwrap() as u8;
            read.push(if byte == b'=' { hex(bytes.next()) << 4 | hex(bytes.next()) } else { byte });
        }
        assert_eq!(read, address.key().as_bytes(), "{path} leads elsewhere");
    }
}
