//! The names of level 3, the same in a folder and in a bucket.
//!
//! Keys are escaped so that any two of them differ on every file system, also on one that folds
//! case: what is not a lower-case letter, a digit, `-`, `_` or an inner `.` becomes `=hh`. A name
//! that would be too long is cut and ends in `==` and the BLAKE3 of the key; no other name holds `==`.

use object_store::path::Path;

use crate::limits::CLOUD_NAME_BYTES_MAX;
use crate::model::{Address, FrameId, Version};

/// The folder of frames.
pub const FRAMES: &str = "frames";
/// The folder of heads.
pub const HEADS: &str = "heads";

const SUFFIX: &str = ".frame";
/// What is kept of a name that is too long: enough to be recognised.
const CUT_BYTES: usize = 96;

/// Where a frame lies: `frames/ab/<frame id>.frame`.
pub fn frame(frame: FrameId) -> Path {
    let [first, ..] = frame.0;
    Path::from(format!("{FRAMES}/{first:02x}/{frame}{SUFFIX}"))
}

/// The frame of a path.
pub fn parse_frame(path: &Path) -> Option<FrameId> {
    let hex = path.filename()?.strip_suffix(SUFFIX)?;
    let plain = hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let id = FrameId(u128::from_str_radix(hex, 16).ok().filter(|_| plain)?.to_be_bytes());
    (frame(id) == *path).then_some(id)
}

/// Where the heads of an address lie: `heads/<collection>/<escaped key>`.
pub fn heads(address: &Address) -> Path {
    Path::from(format!("{HEADS}/{}/{}", address.collection(), escape(address.key())))
}

/// Where one head lies. Each version has a name of its own, so that containers which share a cloud
/// never write over each other; the greatest is the head.
pub fn head(address: &Address, version: Version) -> Path {
    Path::from(format!("{}/{version}", heads(address)))
}

/// The version of a head's path.
pub fn parse_head(path: &Path) -> Option<Version> {
    path.filename()?.parse().ok()
}

fn escape(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    let mut cut = 0;
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            b'.' if !name.is_empty() => name.push('.'),
            _ => name.push_str(&format!("={byte:02x}")),
        }
        if name.len() <= CUT_BYTES {
            cut = name.len();
        }
    }
    if name.len() > CLOUD_NAME_BYTES_MAX {
        name.truncate(cut);
        name.push_str(&format!("=={}", blake3::hash(key.as_bytes()).to_hex()));
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::model::ContainerId;

    fn address(key: &str) -> Address {
        format!("c/{key}").parse().unwrap()
    }

    /// The shortest way back from a name that was not cut.
    fn unescape(name: &str) -> String {
        let mut bytes = Vec::new();
        let mut rest = name;
        while let Some(first) = rest.chars().next() {
            let (byte, len) =
                if first == '=' { (u8::from_str_radix(&rest[1..3], 16).unwrap(), 3) } else { (first as u8, 1) };
            bytes.push(byte);
            rest = &rest[len..];
        }
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn hard_keys_have_names_of_their_own() {
        let long = "k".repeat(1024);
        let keys = [
            "a",
            "A",
            "a/b",
            "a=2fb",
            "a%2fb",
            "a%2Fb",
            "a b",
            "a+b",
            "...",
            "..a",
            "a..",
            "a/.../b",
            "%2e%2e",
            "é",
            "e\u{301}",
            "É",
            "日本語/データ",
            "a#1",
            "a~",
            "a\\b",
            "C:",
            "con",
            "*?\"<>|",
            "a/b#1",
            &long,
            &long[1..],
            &long.replacen('k', "K", 1),
            &"é".repeat(512),
            &"/x".repeat(512)[1..],
            &"%".repeat(1024),
            &"=".repeat(1024),
            &"k".repeat(200),
            &"k".repeat(201),
        ];
        let names: Vec<String> = keys.iter().map(|key| escape(key)).collect();
        // Apart even where case is folded.
        assert_eq!(names.iter().map(|name| name.to_lowercase()).collect::<HashSet<_>>().len(), keys.len());
        for (key, name) in keys.iter().zip(&names) {
            assert!(name.len() <= CLOUD_NAME_BYTES_MAX && !name.starts_with('.'), "{name}");
            assert!(name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'=')), "{name}");
            let path = head(&address(key), Version { time: 1, container: ContainerId(2) });
            assert_eq!(path.as_ref(), format!("heads/c/{name}/0000000000000001-0000000000000002"));
            assert!(path.as_ref().len() <= 1024);
        }
    }

    proptest! {
        #[test]
        fn a_name_that_is_not_cut_leads_back(key in "\\PC{1,60}") {
            let name = escape(&key);
            prop_assert!(name.contains("==") || unescape(&name) == key);
        }
    }

    #[test]
    fn frames_and_heads_are_parsed_back_and_strangers_are_left_alone() {
        let id = FrameId([0xab; 16]);
        assert_eq!(parse_frame(&frame(id)), Some(id));
        let version = Version { time: 7, container: ContainerId(8) };
        assert_eq!(parse_head(&head(&address("k"), version)), Some(version));
        for stranger in [format!("frames/00/{id}.frame"), format!("frames/ab/{id}"), "frames/ab/x.frame".to_owned()] {
            assert_eq!(parse_frame(&Path::from(stranger.as_str())), None, "{stranger}");
        }
        assert_eq!(parse_head(&Path::from("heads/c/k/README")), None);
    }
}
