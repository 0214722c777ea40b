//! The way to a trace collector: one POST a batch, over HTTP.

use futures_util::future::BoxFuture;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderValue};

use super::transport::root_cause;
use super::{answer, tls};
use crate::error::{Error, Result};
use crate::limits::{CLIENT_CONNECT_TIMEOUT, EXPORT_TIMEOUT};
use crate::telemetry::otlp::Collector;

/// A collector that takes OTLP over HTTP in JSON.
#[derive(Clone, Debug)]
pub struct HttpCollector {
    http: reqwest::Client,
    url: String,
}

impl HttpCollector {
    /// The collector at `url`, such as `http://127.0.0.1:4318`.
    pub fn new(url: &str) -> Result<Self> {
        let url = format!("{}/v1/traces", url.trim_end_matches('/'));
        reqwest::Url::parse(&url).map_err(|error| {
            Error::invalid("this is no URL of a collector").with("url", url.escape_default()).because(error)
        })?;
        // Collectors beyond http are refused by the configuration.
        let http = tls::prepare(reqwest::Client::builder(), false, None)?
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CLIENT_CONNECT_TIMEOUT)
            .timeout(EXPORT_TIMEOUT)
            .user_agent(concat!("meshstore/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::internal("cannot set up the HTTP client").because(error))?;
        Ok(HttpCollector { http, url })
    }

    async fn send(&self, batch: Vec<u8>) -> Result<()> {
        let request = self.http.post(&self.url).header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let answer = request
            .body(batch)
            .send()
            .await
            .map_err(|error| Error::unavailable("the collector does not answer").because(root_cause(&error)))?;
        let status = answer.status();
        // Read to its end, so that the connection can be used again; what it says is not needed.
        let read = answer::whole(answer).await;
        match status {
            status if status.is_success() => read.map(drop),
            // The ones that the protocol names as passing.
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                Err(Error::unavailable("the collector cannot take spans now").with("status", status.as_u16()))
            }
            status => Err(Error::invalid("the collector refuses the spans").with("status", status.as_u16())),
        }
    }
}

impl Collector for HttpCollector {
    fn url(&self) -> &str {
        &self.url
    }

    fn post(&self, batch: Vec<u8>) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.send(batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake::{Fake, answer};
    use crate::error::Kind;

    #[tokio::test]
    async fn a_batch_is_posted_and_its_refusal_told_apart_from_a_passing_one() {
        let answers = ["200 OK", "503 Service Unavailable", "400 Bad Request", "302 Found"];
        let fake =
            Fake::answering(answers.map(|status| answer(status, "Location: http://127.0.0.1:1\r\n", "{}")).to_vec())
                .await;
        let collector = HttpCollector::new(&format!("{}/", fake.url)).unwrap();
        assert!(collector.post(b"{\"a\":1}".to_vec()).await.is_ok());
        for kind in [Kind::Unavailable, Kind::Invalid, Kind::Invalid] {
            assert_eq!(collector.post(Vec::new()).await.unwrap_err().kind(), kind);
        }
        let url = collector.url().to_owned();
        let asked = fake.asked().await;
        assert!(asked[0].starts_with("POST /v1/traces HTTP/1.1\r\n") && asked[0].ends_with("\r\n\r\n{\"a\":1}"));
        assert!(asked[0].to_ascii_lowercase().contains("content-type: application/json\r\n"));
        assert!(url.ends_with("/v1/traces") && !url.contains("//v1"));
        // Nobody listens there any more.
        assert_eq!(collector.post(Vec::new()).await.unwrap_err().kind(), Kind::Unavailable);
    }
}
