//! The tokens of a container: their rows in the store, what the door asks of them, and how the first
//! one comes to be.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use crate::config::Config;
use crate::control::{NewToken, Secret, Tokens};
use crate::error::{Error, Kind, Result};
use crate::gateway::Authority;
use crate::model::{Clock, Permission, Rng, TokenId, TokenRecord};
use crate::nfr::SystemRng;
use crate::private;
use crate::store::Batch;
use crate::tiers::Keeper;

/// A token file holds one line.
const TOKEN_FILE_BYTES_MAX: u64 = 4096;

/// The tokens over the container's store. Cheap to clone.
#[derive(Clone)]
pub struct SiteTokens(Arc<Inner>);

struct Inner {
    tokens: Tokens,
    keeper: Arc<Keeper>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    required: bool,
    /// Held from a draft to its admission, so that changes of one token do not cross.
    order: Mutex<()>,
    /// Rung when something was changed here.
    changed: Arc<Notify>,
}

impl SiteTokens {
    /// Reads the tokens, and sees to the root token where tokens are required.
    pub fn open(config: &Config, keeper: Arc<Keeper>, clock: Arc<dyn Clock>) -> Result<Self> {
        let rng: Arc<dyn Rng> = Arc::new(SystemRng);
        let (records, damaged) = keeper.disk().store().tokens()?;
        if damaged > 0 {
            tracing::error!(damaged, "some tokens cannot be read and are refused; make new ones for their bearers");
        }
        let tokens = Tokens::new(Arc::clone(&clock), records);
        let required = config.auth.required;
        let (order, changed) = (Mutex::default(), Arc::default());
        let me = SiteTokens(Arc::new(Inner { tokens, keeper, clock, rng, required, order, changed }));
        if required {
            me.0.see_to_root(&config.auth.root_token_file)?;
        }
        Ok(me)
    }

    /// Rung when something was changed here.
    pub fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.0.changed)
    }

    /// What counts at every container of the site. A root token is one container's own.
    pub fn shared(&self) -> Vec<TokenRecord> {
        let forgettable = self.0.tokens.forgettable();
        let all = self.0.tokens.list().into_iter().filter(|token| !token.root && !forgettable.contains(&token.id));
        all.map(|token| (*token).clone()).collect()
    }

    /// Takes over tokens as another container has them. One that is revoked anywhere is so everywhere.
    pub fn adopt(&self, records: Vec<TokenRecord>) -> Result<()> {
        let _order = self.0.order.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.0.tokens.list();
        let is_new = |record: &TokenRecord| match known.iter().find(|known| known.id == record.id) {
            None => true,
            Some(known) => match (known.revoked_ms, record.revoked_ms) {
                (None, Some(_)) => true,
                (Some(known), Some(told)) => told < known,
                (_, None) => false,
            },
        };
        let new: Vec<TokenRecord> = records.into_iter().filter(|record| !record.root && is_new(record)).collect();
        if new.is_empty() { Ok(()) } else { self.0.keep(&new) }
    }
}

impl Inner {
    /// The file's token counts; without a file a new one is made and the one before it ends. So whoever
    /// may write beside the keyring is never locked out.
    fn see_to_root(&self, path: &Path) -> Result<()> {
        let Some(text) = private::read(path, "the root token", TOKEN_FILE_BYTES_MAX)? else {
            let (record, secret) = self.tokens.draft_root(&*self.rng)?;
            let now = self.clock.now_ms();
            let earlier: Vec<_> = self.tokens.list().into_iter().filter(|old| old.root && old.is_live(now)).collect();
            let mut changed =
                earlier.iter().map(|old| self.tokens.draft_revoked(old.id)).collect::<Result<Vec<_>>>()?;
            changed.push(record);
            // The file first: a token that is known and written nowhere would be of no use.
            private::write(path, "the root token", format!("{}\n", secret.expose()).as_bytes())?;
            self.keep(&changed)?;
            tracing::info!(path = %path.display(), "made a root token; use it to make others, then put it away");
            return Ok(());
        };
        let at = |error: Error| error.with("path", path.display());
        match self.tokens.adopt_root(text.trim()).map_err(at)? {
            Some(record) => self.keep(&[record]),
            None => {
                if let Err(error) = self.tokens.check(text.trim()) {
                    let path = path.display();
                    tracing::warn!(%path, %error, "the root token does not count; remove its file to have one made");
                }
                Ok(())
            }
        }
    }

    fn keep(&self, records: &[TokenRecord]) -> Result<()> {
        let forgettable = self.tokens.forgettable();
        let mut batch = Batch::new();
        records.iter().for_each(|record| batch.put_token(record));
        forgettable.iter().for_each(|id| batch.remove_token(*id));
        self.keeper.disk().store().commit(&batch)?;
        self.tokens.forget(&forgettable);
        records.iter().for_each(|record| self.tokens.admit(record.clone()));
        self.changed.notify_one();
        Ok(())
    }

    fn create(&self, new: NewToken) -> Result<(TokenRecord, Secret)> {
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let (record, secret) = self.tokens.draft(&*self.rng, new)?;
        self.keep(std::slice::from_ref(&record))?;
        Ok((record, secret))
    }

    fn revoke(&self, id: TokenId) -> Result<()> {
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let revoked = self.tokens.draft_revoked(id)?;
        if self.required && self.is_last_admin(id) {
            let why = "this is the last token with the scope admin, and without one nobody can make others; make another one first with `meshstore token create --scope admin`, or remove the file root.token and start the container anew, which makes a new root token and ends the old one";
            return Err(Error::new(Kind::PreconditionFailed, why).with("id", id));
        }
        self.keep(&[revoked])
    }

    fn is_last_admin(&self, id: TokenId) -> bool {
        let now = self.clock.now_ms();
        let mut admins = self.tokens.list();
        admins.retain(|token| token.is_live(now) && token.allows(Permission::Admin, None));
        matches!(admins.as_slice(), [last] if last.id == id)
    }
}

impl Authority for SiteTokens {
    fn required(&self) -> bool {
        self.0.required
    }

    fn identify(&self, token: &str) -> Result<Arc<TokenRecord>> {
        self.0.tokens.check(token)
    }

    fn create_token(&self, new: NewToken) -> BoxFuture<'static, Result<(TokenRecord, Secret)>> {
        let me = Arc::clone(&self.0);
        Box::pin(apart(move || me.create(new)))
    }

    fn tokens(&self) -> Vec<(Arc<TokenRecord>, bool)> {
        let now = self.0.clock.now_ms();
        self.0.tokens.list().into_iter().map(|record| (Arc::clone(&record), record.is_live(now))).collect()
    }

    fn revoke_token(&self, id: TokenId) -> BoxFuture<'static, Result<()>> {
        let me = Arc::clone(&self.0);
        Box::pin(apart(move || me.revoke(id)))
    }
}

/// A commit waits for the disk; that must not hold up a worker of the door.
pub(super) async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::internal("the work ended without an answer").because(error))?
}
