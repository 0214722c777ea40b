//! Which values are never shown: whoever asks for the configuration sees `***` in their place.

use super::Key;

/// What stands for a value that is not shown.
const HIDDEN: &str = "***";

/// Last words of keys whose values open something.
const SECRET_WORDS: [&str; 7] =
    ["token", "secret", "password", "passphrase", "credential", "credentials", "access_key"];

impl Key {
    /// The value as it may be shown to whoever asks over a door.
    pub fn shown(&self, value: &str) -> String {
        let name = self.path.rsplit('.').next().unwrap_or(self.path);
        let is_secret = |word: &str| name == word || name.ends_with(&format!("_{word}"));
        if !value.is_empty() && SECRET_WORDS.iter().any(|word| is_secret(word)) {
            return HIDDEN.to_owned();
        }
        without_credentials(value)
    }
}

/// A URL without what stands before its host, and without the values of its query.
fn without_credentials(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?***"));
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{HIDDEN}@{host}"),
        None => authority.to_owned(),
    };
    format!("{scheme}://{host}{path}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &'static str) -> Key {
        Key { path, takes: "", default: "", derived: false, meaning: &[] }
    }

    #[test]
    fn what_opens_something_is_not_shown() {
        assert_eq!(key("cloud.secret").shown("planted"), "***");
        assert_eq!(key("cloud.client_secret").shown("planted"), "***");
        assert_eq!(key("s3.access_key").shown("planted"), "***");
        assert_eq!(key("cloud.secret").shown(""), "");
        assert_eq!(key("bus.url").shown("nats://user:planted@h:4222/x"), "nats://***@h:4222/x");
        assert_eq!(key("cloud.url").shown("https://h/x?sig=planted"), "https://h/x?***");
        assert_eq!(key("keys.file").shown("/d/keys.toml"), "/d/keys.toml");
        assert_eq!(key("http.addr").shown("127.0.0.1:1"), "127.0.0.1:1");
    }
}
