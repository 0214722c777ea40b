//! How the text of a value becomes the value, and back. One `Shape` a type of key.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::bus::{BusMode, BusUrl, Receivers};
use super::mesh::MeshInvitation;
use crate::error::{Error, Result};
use crate::model::{CloudUrl, EvictionKind, Name};
use crate::telemetry::{LevelFilter, LogFormat, Sample};

/// Longest duration a key may name: a day. Longer ones are typing errors.
const MILLIS_MAX: u64 = 86_400_000;

/// The value that switches level 3 off.
const NO_CLOUD: &str = "none";

/// A type of value: what it takes in words, how to read it, how to show it.
pub(super) struct Shape<T> {
    pub(super) takes: &'static str,
    pub(super) read: fn(&str) -> Result<T>,
    pub(super) show: fn(&T) -> String,
}

fn bad(message: &str, text: &str) -> Error {
    about(Error::invalid(message), text)
}

/// Repeats the value, unless it may hold a password: in a URL one stands before an `@`, however else the URL is
/// misspelt.
fn about(error: Error, text: &str) -> Error {
    if text.contains('@') { error } else { error.with("value", text.escape_default()) }
}

pub(super) const NAME: Shape<Name> = Shape { takes: "a name", read: str::parse, show: Name::to_string };

pub(super) const PATH: Shape<PathBuf> =
    Shape { takes: "a path", read: read_path, show: |path| path.to_string_lossy().into_owned() };

fn read_path(text: &str) -> Result<PathBuf> {
    if text.is_empty() {
        return Err(bad("a path cannot be empty", text));
    }
    // Taken literally it would make a folder of that name, which is never what was meant.
    if text == "~" || text.starts_with("~/") {
        return Err(bad("'~' is not expanded here; write the path out", text));
    }
    Ok(PathBuf::from(text))
}

pub(super) const CLOUD: Shape<Option<CloudUrl>> =
    Shape { takes: "a path, file:///path or none", read: read_cloud, show: show_cloud };

fn read_cloud(text: &str) -> Result<Option<CloudUrl>> {
    if text == NO_CLOUD { Ok(None) } else { text.parse().map(Some) }
}

fn show_cloud(cloud: &Option<CloudUrl>) -> String {
    match cloud.as_ref().map(CloudUrl::to_string) {
        None => NO_CLOUD.to_owned(),
        // A folder of that name would be read back as no cloud.
        Some(text) if text == NO_CLOUD => format!("./{text}"),
        Some(text) => text,
    }
}

pub(super) const ADDR: Shape<SocketAddr> =
    Shape { takes: "an IP address and a port", read: read_addr, show: SocketAddr::to_string };

fn read_addr(text: &str) -> Result<SocketAddr> {
    text.parse().map_err(|_| bad("an address is IP:PORT, such as 127.0.0.1:7700 or [::1]:7700", text))
}

/// A path, or nothing where the text is empty.
pub(super) const OPTIONAL_PATH: Shape<Option<PathBuf>> = Shape {
    takes: "a path",
    read: |text| if text.is_empty() { Ok(None) } else { read_path(text).map(Some) },
    show: |path| path.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
};

pub(super) const TRUTH: Shape<bool> = Shape { takes: "true or false", read: read_truth, show: bool::to_string };

fn read_truth(text: &str) -> Result<bool> {
    text.parse().map_err(|_| bad("this is true or false", text))
}

pub(super) const fn count<const MIN: usize, const MAX: usize>(takes: &'static str) -> Shape<usize> {
    Shape { takes, read: read_count::<MIN, MAX>, show: usize::to_string }
}

fn read_count<const MIN: usize, const MAX: usize>(text: &str) -> Result<usize> {
    let number = digits(text).and_then(|number| usize::try_from(number).ok());
    number
        .filter(|number| (MIN..=MAX).contains(number))
        .ok_or_else(|| bad(&format!("this must be a whole number from {MIN} to {MAX}"), text))
}

pub(super) const MILLIS: Shape<u64> =
    Shape { takes: "milliseconds, from 1 to 86400000", read: read_millis, show: u64::to_string };

fn read_millis(text: &str) -> Result<u64> {
    digits(text)
        .filter(|number| (1..=MILLIS_MAX).contains(number))
        .ok_or_else(|| bad("a duration is a whole number of milliseconds from 1 to 86400000, without a unit", text))
}

pub(super) const REST: Shape<Option<Duration>> = Shape {
    takes: "a time such as 90s, 30m, 12h or 7d, at most a year, or off",
    read: read_rest,
    show: |rest| rest.map_or("off".to_owned(), show_rest),
};

/// Largest first, so that showing takes the shortest text.
const TIMES: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
const REST_S_MAX: u64 = 366 * 86_400;

fn read_rest(text: &str) -> Result<Option<Duration>> {
    if text == "off" {
        return Ok(None);
    }
    let named = TIMES.iter().find_map(|(unit, seconds)| Some((digits(text.strip_suffix(unit)?)?, *seconds)));
    let seconds = named.and_then(|(number, unit)| number.checked_mul(unit));
    let seconds = seconds.filter(|seconds| (1..=REST_S_MAX).contains(seconds));
    let wrong = "a time is a whole number above 0 with s, m, h or d, at most a year, such as 12h; or off";
    seconds.map(|seconds| Some(Duration::from_secs(seconds))).ok_or_else(|| bad(wrong, text))
}

fn show_rest(rest: Duration) -> String {
    let seconds = rest.as_secs();
    let (name, unit) = TIMES.into_iter().find(|(_, unit)| seconds.is_multiple_of(*unit)).unwrap_or(("s", 1));
    format!("{}{name}", seconds / unit)
}

pub(super) const SIZE: Shape<u64> =
    Shape { takes: "bytes, such as 1048576, 512MiB or 4GB", read: read_size, show: |size| show_size(*size) };

pub(super) const SIZE_OR_AUTO: Shape<Option<u64>> = Shape {
    takes: "auto, or bytes, such as 512MiB or 4GB",
    read: |text| if text == "auto" { Ok(None) } else { read_size(text).map(Some) },
    show: |size| size.map_or_else(|| "auto".to_owned(), show_size),
};

/// Largest first, so that showing takes the shortest text; `B` comes last for reading.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

fn read_size(text: &str) -> Result<u64> {
    let wrong = || {
        bad("a size is a whole number of bytes above 0, or one with a unit: KB, MB, GB, TB, KiB, MiB, GiB, TiB", text)
    };
    let lower = text.to_ascii_lowercase();
    let named = UNITS.iter().find_map(|(unit, bytes)| Some((lower.strip_suffix(&unit.to_ascii_lowercase())?, *bytes)));
    let (number, unit) = named.unwrap_or((&lower, 1));
    digits(number.trim_end()).and_then(|number| number.checked_mul(unit)).filter(|size| *size > 0).ok_or_else(wrong)
}

fn show_size(size: u64) -> String {
    match UNITS.iter().find(|(name, bytes)| *name != "B" && size >= *bytes && size.is_multiple_of(*bytes)) {
        Some((name, bytes)) => format!("{}{name}", size / bytes),
        None => size.to_string(),
    }
}

/// Plain decimal digits: no sign, no blanks, no underscores.
fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

pub(super) const EVICTION: Shape<EvictionKind> =
    Shape { takes: "w-tinylfu, lfu or lru", read: str::parse, show: |kind| kind.name().to_owned() };

pub(super) const RECEIVERS: Shape<Receivers> =
    Shape { takes: "none, loopback or any", read: str::parse, show: |receivers| receivers.name().to_owned() };

pub(super) const FORMAT: Shape<LogFormat> =
    Shape { takes: "auto, human or json", read: str::parse, show: |format| format.name().to_owned() };

pub(super) const LEVEL: Shape<LevelFilter> =
    Shape { takes: "off, error, warn, info, debug or trace", read: read_level, show: LevelFilter::to_string };

fn read_level(text: &str) -> Result<LevelFilter> {
    match text {
        "off" | "error" | "warn" | "info" | "debug" | "trace" => text.parse().ok(),
        _ => None,
    }
    .ok_or_else(|| bad("a log level is off, error, warn, info, debug or trace", text))
}

pub(super) const SHARE: Shape<Sample> =
    Shape { takes: "a number from 0 to 1, such as 0.25", read: str::parse, show: Sample::to_string };

pub(super) const COLLECTOR: Shape<Option<String>> = Shape {
    takes: "an http:// URL, or off",
    read: read_collector,
    show: |url| url.clone().unwrap_or_else(|| "off".to_owned()),
};

pub(super) const DOOR_URL: Shape<Option<String>> = Shape {
    takes: "an http:// or https:// URL, or auto",
    read: read_door_url,
    show: |url| url.clone().unwrap_or_else(|| "auto".to_owned()),
};

fn read_door_url(text: &str) -> Result<Option<String>> {
    if text == "auto" {
        return Ok(None);
    }
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or_default();
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#' | '\\' | '@');
    if rest.is_empty() || rest.starts_with(['/', ':']) || rest.contains(odd) {
        return Err(bad("a door's URL looks like https://edge-1.example:7700; auto is where it listens", text));
    }
    Ok(Some(text.trim_end_matches('/').to_owned()))
}

fn read_collector(text: &str) -> Result<Option<String>> {
    if text == "off" {
        return Ok(None);
    }
    let wrong = "a collector's URL looks like http://127.0.0.1:4318; off sends nothing";
    let Some(rest) = text.strip_prefix("http://") else {
        let https = text.starts_with("https://");
        let why = "https to a collector is not built yet; use one on this host with http";
        return Err(if https { about(Error::unimplemented(why), text) } else { bad(wrong, text) });
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') {
        return Err(Error::invalid("a collector's URL carries no credentials"));
    }
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#' | '\\');
    if host.is_empty() || host.starts_with(':') || rest.contains(odd) {
        return Err(bad(wrong, text));
    }
    Ok(Some(text.trim_end_matches('/').to_owned()))
}

pub(super) const BUS: Shape<BusMode> = Shape {
    takes: "auto, local, or the nats:// URL of a server",
    read: read_bus,
    show: |mode| match mode {
        BusMode::Auto => "auto".to_owned(),
        BusMode::Local => "local".to_owned(),
        BusMode::Url(url) => url.expose().to_owned(),
    },
};

pub(super) const BUS_URL: Shape<Option<BusUrl>> = Shape {
    takes: "the nats:// URL of a server, or off",
    read: |text| if text == "off" { Ok(None) } else { text.parse().map(Some) },
    show: |url| url.as_ref().map_or("off", BusUrl::expose).to_owned(),
};

pub(super) const MESH_INVITATION: Shape<Option<MeshInvitation>> = Shape {
    takes: "an invitation as the hub wrote it, or off",
    read: |text| if text == "off" { Ok(None) } else { text.parse().map(Some) },
    show: |invitation| invitation.as_ref().map_or("off".to_owned(), |invitation| invitation.expose().to_string()),
};

fn read_bus(text: &str) -> Result<BusMode> {
    match text {
        "auto" => Ok(BusMode::Auto),
        "local" => Ok(BusMode::Local),
        url if url.contains("://") => url.parse().map(BusMode::Url),
        _ => Err(bad("a bus is auto, local or a nats:// URL", text)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::Kind;

    #[test]
    fn sizes_take_units() {
        for (text, size) in
            [("1", 1), ("512MiB", 512 << 20), ("4GB", 4_000_000_000), ("2 kib", 2048), ("7B", 7), ("1TiB", 1 << 40)]
        {
            assert_eq!(read_size(text).ok(), Some(size), "{text}");
        }
        for bad in ["", "0", "MiB", "-1", "+1", "1.5GiB", "1PB", "99999999999TiB", "1 2", "0x10"] {
            assert!(read_size(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_size_reads_back(size in 1u64.., shift in 0u32..64) {
            let size = (size >> shift).max(1);
            prop_assert_eq!(read_size(&show_size(size)).ok(), Some(size));
        }
    }

    #[test]
    fn rests_take_units() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800), ("1s", 1)] {
            let rest = read_rest(text).unwrap();
            assert_eq!(rest, Some(Duration::from_secs(seconds)));
            assert_eq!(read_rest(&(REST.show)(&rest)).unwrap(), rest, "{text}");
        }
        assert_eq!((REST.show)(&read_rest("off").unwrap()), "off");
        for bad in ["", "0s", "7", "-1d", "1.5h", "367d", "99999999999999999999d", "d", "7 d", "never"] {
            assert!(read_rest(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_numbers() {
        for good in ["127.0.0.1:0", "0.0.0.0:80", "[::1]:7700"] {
            assert!(read_addr(good).is_ok(), "{good}");
        }
        for bad in ["localhost:7700", "7700", "127.0.0.1", "::1:80", ""] {
            assert_eq!(read_addr(bad).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
        assert!(read_truth("yes").is_err() && read_truth("true").unwrap());
        assert_eq!((OPTIONAL_PATH.show)(&(OPTIONAL_PATH.read)("").unwrap()), "");
    }

    #[test]
    fn a_bus_is_a_word_or_a_server() {
        for text in ["auto", "local", "nats://127.0.0.1:4222"] {
            assert_eq!((BUS.show)(&read_bus(text).unwrap()), text);
        }
        assert_eq!(read_bus("nats").unwrap_err().kind(), Kind::Invalid);
        let secret = read_bus("http://u:hidden@h").unwrap_err();
        assert!(!secret.to_string().contains("hidden"), "{secret}");
        for text in ["off", "tls://h"] {
            assert_eq!((BUS_URL.show)(&(BUS_URL.read)(text).unwrap()), text);
        }
    }

    #[test]
    fn a_door_has_a_plain_url() {
        assert_eq!(read_door_url("auto").unwrap(), None);
        assert_eq!(read_door_url("https://h:1/").unwrap().as_deref(), Some("https://h:1"));
        for bad in ["", "http://", "http://:1", "h:1", "http://u@h", "http://h?x", "http://h x"] {
            assert!(read_door_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_collector_is_a_plain_url_or_off() {
        assert_eq!(read_collector("off").unwrap(), None);
        for url in ["http://127.0.0.1:4318", "http://h/otlp", "http://[::1]:1"] {
            assert_eq!((COLLECTOR.show)(&read_collector(&format!("{url}/")).unwrap()), url);
        }
        for bad in [
            "",
            "http://",
            "http:///x",
            "http://:1",
            "127.0.0.1:4318",
            "ftp://h",
            "http://h?x",
            "http://h#x",
            "http://h x",
        ] {
            assert_eq!(read_collector(bad).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
        assert_eq!(read_collector("https://h").unwrap_err().kind(), Kind::Unimplemented);
        for url in ["http://u:hidden@h", "https://u:hidden@h", "htp://u:hidden@h", "http:/u:hidden@h", "u:hidden@h"] {
            let secret = read_collector(url).unwrap_err();
            assert!(!secret.to_string().contains("hidden"), "{secret}");
        }
    }

    #[test]
    fn a_cloud_is_a_folder_or_none() {
        for (text, shown) in [("none", "none"), ("./none", "./none"), ("file:///srv/c", "/srv/c"), ("c", "c")] {
            let cloud = read_cloud(text).unwrap();
            assert_eq!(show_cloud(&cloud), shown, "{text}");
            assert_eq!(read_cloud(shown).unwrap(), cloud, "{text}");
        }
        assert_eq!(show_cloud(&Some(CloudUrl::Folder("none".into()))), "./none");
        assert_eq!(read_cloud("s3://bucket").unwrap_err().kind(), Kind::Unimplemented);
        assert_eq!(read_cloud("ftp://host").unwrap_err().kind(), Kind::Invalid);
    }

    #[test]
    fn paths_and_levels_are_taken_literally() {
        assert!(read_path("~/data").is_err() && read_path("").is_err() && read_path("a~b").is_ok());
        assert!(read_level("INFO").is_err() && read_level("3").is_err());
        assert_eq!((LEVEL.show)(&read_level("warn").unwrap()), "warn");
        assert!(read_millis("30s").is_err() && read_millis("0").is_err());
        assert!(read_count::<1, 4>("5").is_err() && read_count::<1, 4>("0").is_err());
    }
}
