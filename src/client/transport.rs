//! The connection: URLs, credentials, time limits, and which failure of the transport is which kind.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderValue};
use reqwest::{Method, RequestBuilder, Response};

use super::direct::Idle;
use super::{answer, tls};
use crate::error::{Error, Kind, Result};
use crate::limits::{CLIENT_CONNECT_TIMEOUT, CLIENT_SILENCE_TIMEOUT};
use crate::model::{Address, Name, Version};

/// What stays as it is in a path segment or a query value: the unreserved characters of RFC 3986.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A client of one container; cheap to clone, safe to share.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<HeaderValue>,
    pub(super) silence: Duration,
    pub(super) idle: Idle,
}

impl Client {
    /// A client of the container at `url`, such as `http://127.0.0.1:7700`.
    pub fn new(url: &str, token: Option<String>) -> Result<Client> {
        Client::trusting(url, token, None)
    }

    /// The same, for `https://`, with the certificates (in PEM) of the only authority to trust.
    pub fn trusting(url: &str, token: Option<String>, ca: Option<&[u8]>) -> Result<Client> {
        let base = check_url(url)?;
        let token = token
            .map(|token| {
                let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| {
                    Error::invalid("the token holds characters that no token has; check MESHSTORE_TOKEN")
                })?;
                value.set_sensitive(true);
                Ok::<_, Error>(value)
            })
            .transpose()?;
        let builder = reqwest::Client::builder()
            // A proxy meant for the web must not get between a host and its own container.
            .no_proxy()
            // A redirect would carry bodies and tokens to where nobody sent them.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CLIENT_CONNECT_TIMEOUT)
            .tcp_keepalive(CLIENT_SILENCE_TIMEOUT)
            .user_agent(concat!("meshstore/", env!("CARGO_PKG_VERSION")));
        let http = tls::prepare(builder, base.starts_with("https:"), ca)?.build();
        let http = http.map_err(|error| tls::not_set_up(error, ca))?;
        Ok(Client { http, base, token, silence: CLIENT_SILENCE_TIMEOUT, idle: Idle::default() })
    }

    /// The URL it speaks to.
    pub fn url(&self) -> &str {
        &self.base
    }

    pub(super) fn request(&self, method: Method, path: &str) -> Result<RequestBuilder> {
        let request = self.http.request(method, format!("{}{path}", self.base));
        Ok(match &self.token {
            Some(token) => request.header(AUTHORIZATION, token.clone()),
            None => request,
        })
    }

    /// Sends a request without a body and waits for a good answer's head.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response> {
        match tokio::time::timeout(self.silence, request.send()).await {
            Ok(outcome) => self.answered(outcome).await,
            Err(_) => Err(self.silent()),
        }
    }

    /// Turns what the transport says into a good answer or an error of the right kind.
    pub(super) async fn answered(&self, outcome: reqwest::Result<Response>) -> Result<Response> {
        match outcome {
            Ok(answer) if answer.status().is_success() => Ok(answer),
            Ok(answer) => {
                let error = answer::failure(answer).await;
                let unnamed = error.kind() == Kind::Unauthorised && self.token.is_none();
                let why = "the container asks for a token; set MESHSTORE_TOKEN, or name its file with --token-file";
                Err(if unnamed { Error::new(Kind::Unauthorised, why) } else { error })
            }
            Err(error) if tls::is_distrust(&error) => Err(Error::unavailable(format!(
                "the certificate of the container at {} is not trusted; name its authority's file with --ca (an authority's own certificate cannot be a door's)",
                self.base
            ))
            .because(root_cause(&error))),
            Err(error) if tls::is_no_tls(&error) => Err(Error::unavailable(format!(
                "what answers at {} does not speak TLS; ask it with http://",
                self.base
            ))),
            Err(error) if error.is_connect() => Err(Error::unavailable(format!(
                "no container answers at {}; start one with `meshstore serve` or name another with --url",
                self.base
            ))
            .because(root_cause(&error))),
            Err(error) if error.is_builder() => {
                Err(Error::invalid("the request cannot be sent as it is").because(root_cause(&error)))
            }
            Err(error) => Err(Error::unavailable(format!(
                "the container at {} broke off the connection{}",
                self.base,
                if self.base.starts_with("http:") { "; if it speaks TLS, ask it with https://" } else { "" }
            ))
            .because(root_cause(&error))),
        }
    }

    pub(super) fn silent(&self) -> Error {
        let seconds = self.silence.as_secs();
        Error::deadline(format!("the container at {} said nothing for {seconds} s; try again", self.base))
    }
}

/// `http://host[:port][/path]`, without what a URL of a container cannot have.
fn check_url(url: &str) -> Result<String> {
    let bad = |why: &str| Error::invalid(why).with("url", url.escape_default());
    let parsed = reqwest::Url::parse(url).map_err(|_| bad("a container's URL looks like http://127.0.0.1:7700"))?;
    match parsed.scheme() {
        "http" | "https" => {}
        _ => return Err(bad("a container's URL looks like http://127.0.0.1:7700")),
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(Error::invalid("a URL carries no credentials; put the token into MESHSTORE_TOKEN"));
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(bad("a container's URL has no query and no fragment"));
    }
    Ok(parsed.as_str().trim_end_matches('/').to_owned())
}

/// The innermost cause: reqwest's own text repeats the URL, which our message has already.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

pub(super) fn object_path(address: &Address) -> String {
    let key: Vec<String> = address.key().split('/').map(escape).collect();
    format!("/v1/objects/{}/{}", address.collection(), key.join("/"))
}

pub(super) fn locate_path(address: &Address) -> String {
    object_path(address).replacen("/v1/objects/", "/v1/locate/", 1)
}

/// The path of an object, in one of its versions if that is named.
pub(super) fn version_path(address: &Address, version: Option<Version>) -> String {
    let path = object_path(address);
    version.map_or_else(|| path.clone(), |version| format!("{path}?version={version}"))
}

pub(super) fn list_path(collection: &Name, prefix: &str, after: Option<&str>, limit: Option<usize>) -> String {
    let mut query = Vec::new();
    if !prefix.is_empty() {
        query.push(format!("prefix={}", escape(prefix)));
    }
    query.extend(after.map(|after| format!("after={}", escape(after))));
    query.extend(limit.map(|limit| format!("limit={limit}")));
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    format!("/v1/objects/{collection}{query}")
}

/// Below `/v1/admin/`: the objects of a level.
pub(super) fn level_path(level: &str, prefix: &str, after: Option<&str>) -> String {
    let after = after.map_or(String::new(), |after| format!("&after={}", escape(after)));
    format!("tiers/{}/objects?limit=1000&prefix={}{after}", escape(level), escape(prefix))
}

/// What is owed, of a collection or of one of its keys; `path` holds a `?` already.
pub(super) fn owed_path(path: &str, collection: Option<&str>, key: Option<&str>, after: Option<&str>) -> String {
    let pairs = [("collection", collection), ("key", key), ("after", after)];
    let pairs = pairs.iter().filter_map(|(name, value)| value.map(|value| format!("&{name}={}", escape(value))));
    pairs.fold(path.to_owned(), |path, pair| path + &pair)
}

/// The length that an answer names, also where it has no body (HEAD).
pub(super) fn length(answer: &Response) -> Option<u64> {
    answer.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn urls_of_containers_are_http() {
        assert_eq!(Client::new("http://127.0.0.1:7700/", None).unwrap().url(), "http://127.0.0.1:7700");
        assert!(Client::new("https://h", None).is_ok());
        for bad in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let refused = Client::trusting("https://h", None, Some(bad.as_bytes())).unwrap_err();
            assert_eq!(refused.kind(), Kind::Invalid, "{bad}");
        }
        for bad in ["", "127.0.0.1:7700", "ftp://h", "http://u:p@h", "http://h/?q", "http://h/#f"] {
            assert_eq!(Client::new(bad, None).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
        assert!(Client::new("http://h", Some("a\nb".into())).is_err());
    }

    #[test]
    fn a_client_never_prints_its_token() {
        let client = Client::new("http://h", Some("secret".into())).unwrap();
        assert!(!format!("{client:?}").contains("secret"));
    }

    #[test]
    fn segments_are_escaped_one_by_one() {
        let address: Address = "c/a b/%2e%2e/ü?#+&=".parse().unwrap();
        assert_eq!(object_path(&address), "/v1/objects/c/a%20b/%252e%252e/%C3%BC%3F%23%2B%26%3D");
        assert_eq!(locate_path(&"c/v1/objects/k".parse().unwrap()), "/v1/locate/c/v1/objects/k");
        assert_eq!(
            list_path(&"c".parse().unwrap(), "a/&", Some("z+"), Some(5)),
            "/v1/objects/c?prefix=a%2F%26&after=z%2B&limit=5"
        );
        assert_eq!(list_path(&"c".parse().unwrap(), "", None, None), "/v1/objects/c");
    }
}
