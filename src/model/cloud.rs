//! Level 3 in words: where it is, and what it answers when it has taken something in.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Clouds that are named by the contract and not built yet.
const LATER: [&str; 3] = ["s3", "az", "gs"];

/// Where level 3 is: a folder, as a path or as `file:///path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloudUrl {
    /// A folder of this machine or one that is mounted here; containers may share it.
    Folder(PathBuf),
}

impl CloudUrl {
    /// The folder, where it is one.
    pub fn folder(&self) -> Option<&std::path::Path> {
        match self {
            CloudUrl::Folder(path) => Some(path),
        }
    }
}

impl FromStr for CloudUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // In a URL a password may stand before an `@`: such a text is not repeated.
        let about = |error: Error| if text.contains('@') { error } else { error.with("cloud", text.escape_default()) };
        let bad = |why: &str| Err(about(Error::invalid(why)));
        // No scheme holds a `/`: what has one before its `://` is a path, however odd.
        let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| !scheme.contains('/')) else {
            let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
            if scheme == "file" || LATER.contains(&scheme) {
                return bad("a cloud is a path or a URL with '://', such as file:///srv/cloud");
            }
            return folder(text).or_else(bad);
        };
        match scheme {
            "file" if !rest.starts_with('/') => {
                bad("a file URL has three slashes and an absolute path, such as file:///srv/cloud")
            }
            "file" if rest.contains(['%', '?', '#']) => {
                bad("a file URL is taken literally here; write a folder with '%', '?' or '#' as a plain path")
            }
            "file" => folder(rest).or_else(bad),
            later if LATER.contains(&later) => {
                let why = "clouds of this kind are not built yet; name a folder as a path or as file:///path";
                Err(about(Error::unimplemented(why)))
            }
            _ => bad("a cloud is a folder: a path or file:///path"),
        }
    }
}

fn folder(path: &str) -> Result<CloudUrl, &'static str> {
    // Taken literally it would make a folder of that name, which is never what was meant.
    if path == "~" || path.starts_with("~/") {
        return Err("'~' is not expanded here; write the path out");
    }
    if path.is_empty() || path.chars().any(char::is_control) {
        return Err("the path of a cloud folder cannot be empty nor hold control characters");
    }
    let path = PathBuf::from(path);
    if path.file_name().is_none() {
        return Err("the path of a cloud folder must end in a name");
    }
    Ok(CloudUrl::Folder(path))
}

impl fmt::Display for CloudUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloudUrl::Folder(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What the cloud answered to an upload. A durable copy is dropped only after the receipt was checked
/// once more against what the cloud holds then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Sealed bytes that were taken in.
    pub bytes: u64,
    /// The cloud's own tag of what it took in.
    pub etag: Option<String>,
    /// The cloud's own version of it, where it keeps versions.
    pub version: Option<String>,
    /// Wall-clock milliseconds since 1970.
    pub at_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_folder_is_a_path_or_a_file_url() {
        for (text, path) in [
            ("/srv/cloud", "/srv/cloud"),
            ("file:///srv/cloud", "/srv/cloud"),
            ("cloud", "cloud"),
            ("../a b/%20", "../a b/%20"),
            ("./none", "./none"),
            ("file:///srv/a://b", "/srv/a://b"),
            ("./a://b", "./a://b"),
        ] {
            let url: CloudUrl = text.parse().unwrap();
            assert_eq!(url.folder().unwrap().as_os_str(), path, "{text}");
            assert_eq!(url.to_string().parse::<CloudUrl>().unwrap(), url);
        }
    }

    #[test]
    fn real_clouds_are_not_built_yet() {
        for text in ["s3://bucket/prefix", "az://container", "gs://bucket"] {
            let error = text.parse::<CloudUrl>().unwrap_err();
            assert_eq!((error.kind(), error.context("cloud")), (Kind::Unimplemented, Some(text)));
        }
    }

    #[test]
    fn a_password_in_a_url_is_not_repeated() {
        for text in ["s3://id:hidden@bucket", "S3://id:hidden@bucket", "s3:id:hidden@bucket"] {
            let error = text.parse::<CloudUrl>().unwrap_err();
            assert!(!error.to_string().contains("hidden"), "{error}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_text() {
        let bad = [
            "",
            "~",
            "~/cloud",
            "/",
            "..",
            "a\0b",
            "ftp://x",
            "http://x/y",
            "://",
            "file://",
            "file://host/x",
            "file:/x",
            "file:///",
            "file:///a%20b",
            "file:///a#b",
            "s3:bucket",
            "S3://bucket",
        ];
        for text in bad {
            let error = text.parse::<CloudUrl>().unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{text:?}");
            assert!(error.context("cloud").is_some(), "{text:?}");
        }
    }
}
