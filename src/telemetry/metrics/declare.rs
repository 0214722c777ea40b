//! The form in which metrics are declared: one table gives the numbers, the page and the reference.

/// What the numbers of a family mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Values counted by size.
    Histogram,
    /// A fact, told by its labels; its number is 1.
    Info,
}

impl Kind {
    /// The kind's name on the page.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info => "info",
        }
    }

    /// What the name of a plain sample ends with.
    pub const fn suffix(self) -> &'static str {
        match self {
            Kind::Counter => "_total",
            Kind::Gauge | Kind::Histogram => "",
            Kind::Info => "_info",
        }
    }
}

/// What is known of one metric.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name, without the ending of its samples.
    pub name: &'static str,
    /// What its numbers mean.
    pub kind: Kind,
    /// Its unit; its name ends with it. Empty for plain numbers.
    pub unit: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it tells, line by line.
    pub help: &'static [&'static str],
}

impl Family {
    /// What it tells, as one text.
    pub fn text(&self) -> String {
        self.help.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }
}

/// `live { field: Type = "name", "unit"[, buckets]; }` for what is counted while requests are served,
/// and `read { NAME: Kind ["label"] = "name", "unit"; }` for what is read from its owner whenever the
/// page is asked for.
macro_rules! metrics {
    (
        live { $( $(#[doc = $help:literal])+ $field:ident: $Type:ty = $name:literal, $unit:literal $(, $buckets:expr)?; )+ }
        read { $( $(#[doc = $told:literal])+ $READ:ident: $Kind:ident [$($label:literal),*] = $named:literal, $of:literal; )+ }
    ) => {
        /// The numbers that are counted while requests are served.
        pub struct Metrics {
            $( $(#[doc = $help])+ pub $field: $Type, )+
        }

        impl Metrics {
            /// All at zero.
            pub fn new() -> Self {
                Metrics { $( $field: <$Type>::new($($buckets)?), )+ }
            }

            pub(super) fn write(&self, page: &mut Page) {
                let mut families = live_families().into_iter();
                $( if let Some(family) = families.next() { self.$field.write(&family, page); } )+
            }
        }

        fn live_families() -> Vec<Family> {
            vec![ $( Family {
                name: $name,
                kind: <$Type as Live>::KIND,
                unit: $unit,
                labels: <$Type as Live>::label_names(),
                help: &[$($help),+],
            } ),+ ]
        }

        $(
            $(#[doc = $told])+
            pub const $READ: Family = Family {
                name: $named,
                kind: Kind::$Kind,
                unit: $of,
                labels: &[$($label),*],
                help: &[$($told),+],
            };
        )+

        /// Every metric there is, in the order of the page.
        pub fn families() -> Vec<Family> {
            let mut all = live_families();
            all.extend([ $( $READ ),+ ]);
            all
        }
    };
}
pub(super) use metrics;
