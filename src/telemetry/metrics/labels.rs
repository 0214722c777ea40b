//! Labels and their values: closed sets, so that no caller can make a container keep more and more
//! series. What comes from outside and is none of the known ones is `other`.

use crate::error::Kind;
use crate::model::Level;

/// One label: every value it can have is known.
pub trait Label: Copy {
    /// Its name.
    const NAME: &'static str;
    /// Its values, in the order of [`Label::position`].
    const VALUES: &'static [&'static str];

    /// Which of the values it is.
    fn position(self) -> usize;
}

/// The labels of a family together: none, one, or two or three as a tuple.
pub trait Labels: Copy {
    /// Their names.
    const NAMES: &'static [&'static str];
    /// How many combinations there are.
    const SERIES: usize;

    /// The place of this combination among all.
    fn place(self) -> usize;

    /// The values of the combination at a place.
    fn values(place: usize) -> Vec<&'static str>;
}

impl Labels for () {
    const NAMES: &'static [&'static str] = &[];
    const SERIES: usize = 1;

    fn place(self) -> usize {
        0
    }

    fn values(_: usize) -> Vec<&'static str> {
        Vec::new()
    }
}

impl<A: Label> Labels for A {
    const NAMES: &'static [&'static str] = &[A::NAME];
    const SERIES: usize = A::VALUES.len();

    fn place(self) -> usize {
        self.position()
    }

    fn values(place: usize) -> Vec<&'static str> {
        A::VALUES.get(place).copied().into_iter().collect()
    }
}

impl<A: Label, B: Label> Labels for (A, B) {
    const NAMES: &'static [&'static str] = &[A::NAME, B::NAME];
    const SERIES: usize = A::VALUES.len() * B::VALUES.len();

    fn place(self) -> usize {
        self.0.position() * B::VALUES.len() + self.1.position()
    }

    fn values(place: usize) -> Vec<&'static str> {
        [A::values(place / B::VALUES.len()), B::values(place % B::VALUES.len())].concat()
    }
}

impl<A: Label, B: Label, C: Label> Labels for (A, B, C) {
    const NAMES: &'static [&'static str] = &[A::NAME, B::NAME, C::NAME];
    const SERIES: usize = A::VALUES.len() * <(B, C)>::SERIES;

    fn place(self) -> usize {
        self.0.position() * <(B, C)>::SERIES + (self.1, self.2).place()
    }

    fn values(place: usize) -> Vec<&'static str> {
        [A::values(place / <(B, C)>::SERIES), <(B, C)>::values(place % <(B, C)>::SERIES)].concat()
    }
}

/// `Name "label" { Variant = "value", … }`.
macro_rules! labels {
    ($(
        $(#[doc = $about:literal])+
        $Name:ident $name:literal { $( $(#[doc = $meaning:literal])+ $Variant:ident = $value:literal ),+ $(,)? }
    )+) => {$(
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $Name {
            $( $(#[doc = $meaning])+ $Variant, )+
        }

        impl $Name {
            /// The value's name.
            pub fn name(self) -> &'static str {
                Self::VALUES.get(self.position()).copied().unwrap_or_default()
            }
        }

        impl Label for $Name {
            const NAME: &'static str = $name;
            const VALUES: &'static [&'static str] = &[$($value),+];

            fn position(self) -> usize {
                self as usize
            }
        }
    )+};
}

labels! {
    /// What a request on the bus asks for.
    Operation "operation" {
        /// Store an object.
        Push = "push",
        /// Read it.
        Pull = "pull",
        /// What is known of it.
        Head = "head",
        /// Delete it.
        Delete = "delete",
        /// The keys of a collection.
        List = "list",
        /// Where an object is.
        Locate = "locate",
        /// Many of these at once.
        Batch = "batch",
        /// Pay what is owed to the cloud.
        Sync = "sync",
        /// What is owed to it.
        Transfers = "transfers",
        /// None of the known ones.
        Other = "other",
    }

    /// The method of a request.
    Method "method" {
        /// `GET`.
        Get = "GET",
        /// `HEAD`.
        Head = "HEAD",
        /// `PUT`.
        Put = "PUT",
        /// `DELETE`.
        Delete = "DELETE",
        /// `POST`.
        Post = "POST",
        /// Any other.
        Other = "other",
    }

    /// What kind of path a request named.
    Route "route" {
        /// An object.
        Object = "/v1/objects/{collection}/{key}",
        /// Where an object is.
        Locate = "/v1/locate/{collection}/{key}",
        /// A collection's keys.
        List = "/v1/objects/{collection}",
        /// The policy of a collection.
        Policy = "/v1/collections/{name}",
        /// Every collection.
        Policies = "/v1/collections",
        /// A policy of the mesh.
        Rule = "/v1/policies/{name}",
        /// All of them.
        Rules = "/v1/policies",
        /// What is owed to the cloud.
        Transfers = "/v1/transfers",
        /// Paying it.
        Sync = "/v1/sync",
        /// Many operations at once.
        Batch = "/v1/batch",
        /// What happens, as it happens.
        Events = "/v1/events",
        /// What can be asked, for programs.
        OpenApi = "/openapi.json",
        /// What can be asked, for people.
        Api = "/api",
        /// What whoever runs the container asks and orders.
        Admin = "/v1/admin/{task}",
        /// This page.
        Metrics = "/metrics",
        /// Whether the process serves.
        Health = "/healthz",
        /// Whether the container does.
        Ready = "/readyz",
        /// Any other path.
        Other = "other",
    }

    /// The class of an answer's status.
    Status "status" {
        /// Informational.
        Informed = "1xx",
        /// Done.
        Good = "2xx",
        /// Somewhere else, or known already.
        Elsewhere = "3xx",
        /// The request was at fault.
        Refused = "4xx",
        /// The container was at fault.
        Failed = "5xx",
        /// Whoever asked was gone before there was an answer.
        Gone = "gone",
    }

    /// Where policies of the mesh are enforced.
    Point "point" {
        /// Where an object is pushed or deleted.
        Push = "push",
        /// Where another site asks for what opens it.
        Leave = "leave",
        /// Where it is read.
        Pull = "pull",
        /// Where it is to leave the disk.
        Evict = "evict",
    }

    /// What became of a group of changes.
    CommitOutcome "outcome" {
        /// Every change was decided and is durable.
        Done = "ok",
        /// At least one change failed.
        Failed = "failed",
    }

    /// What was made durable.
    Synced "what" {
        /// The bytes of a file.
        File = "file",
        /// The names in a folder.
        Folder = "folder",
    }

    /// What ended by itself and was cleared away.
    Ended "what" {
        /// A version that was kept for its time.
        Version = "version",
        /// An object whose time to live was over.
        Object = "object",
        /// The trace of a delete.
        Tombstone = "tombstone",
    }

    /// What became of a span.
    SpanOutcome "outcome" {
        /// The collector took it.
        Exported = "exported",
        /// The queue was full.
        Dropped = "dropped",
        /// The collector refused it, or it was still waiting when the container stopped.
        Failed = "failed",
    }
}

impl Status {
    /// The class of an HTTP status.
    pub fn of(status: u16) -> Self {
        match status {
            0..200 => Status::Informed,
            200..300 => Status::Good,
            300..400 => Status::Elsewhere,
            400..500 => Status::Refused,
            _ => Status::Failed,
        }
    }
}

/// How a request to the container ended: `ok`, or the kind of its error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome(pub Option<Kind>);

impl Outcome {
    /// The outcome that a result stands for.
    pub fn of<T>(result: &crate::Result<T>) -> Self {
        Outcome(result.as_ref().err().map(crate::Error::kind))
    }
}

impl Label for Outcome {
    const NAME: &'static str = "outcome";
    const VALUES: &'static [&'static str] = &{
        let mut names = ["ok"; 1 + Kind::ALL.len()];
        let mut at = 0;
        while at < Kind::ALL.len() {
            #[allow(clippy::indexing_slicing)] // Evaluated by the compiler.
            {
                names[at + 1] = Kind::ALL[at].name();
            }
            at += 1;
        }
        names
    };

    fn position(self) -> usize {
        // The order of the kinds is that of `Kind::ALL`, by contract.
        self.0.map_or(0, |kind| kind as usize + 1)
    }
}

/// The level that served a request or took an object in; `none` when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served(pub Option<Level>);

impl Label for Served {
    const NAME: &'static str = "level";
    const VALUES: &'static [&'static str] =
        &["none", Level::Ram.name(), Level::Disk.name(), Level::Cloud.name(), Level::Peer.name()];

    fn position(self) -> usize {
        match self.0 {
            None => 0,
            Some(Level::Ram) => 1,
            Some(Level::Disk) => 2,
            Some(Level::Cloud) => 3,
            Some(Level::Peer) => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_has_a_place_of_its_own() {
        assert_eq!(<(Method, Route, Status)>::SERIES, 6 * 18 * 6);
        let names = |labels: (Method, Route, Status)| <(Method, Route, Status)>::values(labels.place());
        assert_eq!(names((Method::Head, Route::Ready, Status::Failed)), ["HEAD", "/readyz", "5xx"]);
        assert_eq!(names((Method::Other, Route::Other, Status::Gone)), ["other", "other", "gone"]);
        let places: std::collections::BTreeSet<_> =
            (0..<(Outcome, Served)>::SERIES).map(<(Outcome, Served)>::values).collect();
        assert_eq!(places.len(), <(Outcome, Served)>::SERIES);
    }

    #[test]
    fn outcomes_are_named_as_their_kinds() {
        for kind in Kind::ALL {
            assert_eq!(Outcome::VALUES[Outcome(Some(kind)).position()], kind.name());
        }
        assert_eq!(Outcome::VALUES[Outcome(None).position()], "ok");
        for level in [Level::Ram, Level::Disk, Level::Cloud, Level::Peer] {
            assert_eq!(Served::VALUES[Served(Some(level)).position()], level.name());
        }
    }

    #[test]
    fn classes_follow_the_status() {
        for (status, class) in [(101, "1xx"), (204, "2xx"), (304, "3xx"), (404, "4xx"), (503, "5xx"), (999, "5xx")] {
            assert_eq!(Status::of(status).name(), class);
        }
    }
}
