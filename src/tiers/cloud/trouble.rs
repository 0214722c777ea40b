//! Why a call to the cloud did not succeed. What the store says becomes one of our errors here and
//! nowhere else.

use std::io;

use crate::error::Error;

/// Why a call did not succeed.
#[derive(Debug)]
pub enum Trouble {
    /// It may pass: the call is made again.
    Passing(Error),
    /// It will not pass by itself.
    Lasting(Error),
    /// There is nothing of this name.
    Missing(Error),
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Error {
        match trouble {
            Trouble::Passing(error) | Trouble::Lasting(error) | Trouble::Missing(error) => error,
        }
    }
}

impl Trouble {
    /// An error of the store in our terms; `what` says what could not be done.
    pub fn of_store(error: object_store::Error, what: &'static str) -> Self {
        use object_store::Error as Store;
        match error {
            Store::NotFound { .. } => {
                Trouble::Missing(Error::unavailable(format!("{what}: it is not in the cloud any more")).because(error))
            }
            Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => {
                let why = format!("{what}: the cloud refuses access; mend the credentials or the permissions");
                Trouble::Lasting(Error::unavailable(why).because(error))
            }
            Store::Generic { .. } | Store::JoinError { .. } => match io_kind(&error) {
                Some(kind) => Trouble::of_io(kind, what, error),
                None => Trouble::passing(what, error),
            },
            _ => Trouble::Lasting(Error::internal(format!("{what}: the cloud cannot do this")).because(error)),
        }
    }

    /// An error of the folder's file system in our terms.
    pub fn of_io(
        kind: io::ErrorKind,
        what: &'static str,
        cause: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        use io::ErrorKind as Io;
        let why = match kind {
            Io::StorageFull | Io::QuotaExceeded => "the cloud folder is full; free some space",
            Io::ReadOnlyFilesystem | Io::PermissionDenied | Io::NotADirectory => {
                "the cloud folder is not writable; mend it or name another in cloud.url"
            }
            _ => return Trouble::passing(what, cause),
        };
        Trouble::Lasting(Error::unavailable(format!("{what}: {why}")).because(cause))
    }

    fn passing(what: &'static str, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        let why = format!("{what}: the cloud cannot be reached or fails; it can be tried again later");
        Trouble::Passing(Error::unavailable(why).because(cause))
    }
}

/// The file system's own word on the failure, however deep it lies.
fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.filter_map(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind).next()
}
