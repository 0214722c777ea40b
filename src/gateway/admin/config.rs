//! `GET /v1/admin/config`: every key, its value and where it was said.

use actix_web::HttpResponse;
use serde::Serialize;

use super::listing;

/// One key.
#[derive(Clone, Debug, Serialize)]
pub struct SettingReport {
    /// `section.key`.
    pub key: &'static str,
    /// Its value; what is secret is `***`.
    pub value: String,
    /// A file and line, a variable, `flag` or `default`.
    pub from: String,
}

pub(super) fn show(keys: &[SettingReport]) -> HttpResponse {
    listing("config", keys)
}
