//! What the door asks of whoever knows the tokens: a trait, so that the door can be tested alone.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::control::{NewToken, Secret};
use crate::error::Result;
use crate::model::{TokenId, TokenRecord};

/// The tokens as the door sees them.
pub trait Authority: Send + Sync + 'static {
    /// Whether a request without a token is refused.
    fn required(&self) -> bool;

    /// Whose token this is; `unauthorised` unless it counts now. On the hot path: it must not wait.
    fn identify(&self, token: &str) -> Result<Arc<TokenRecord>>;

    /// Makes a token; it counts at once. Its secret is not kept.
    fn create_token(&self, new: NewToken) -> BoxFuture<'static, Result<(TokenRecord, Secret)>>;

    /// Every token that is known, and whether it counts now.
    fn tokens(&self) -> Vec<(Arc<TokenRecord>, bool)>;

    /// Ends a token at once.
    fn revoke_token(&self, id: TokenId) -> BoxFuture<'static, Result<()>>;
}
