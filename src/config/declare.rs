//! The form in which keys are declared: one table gives the typed structs, the loader and the
//! reference, so that they cannot tell different stories.

use super::fault::{Fault, Origin};
use super::gather::Given;
use super::shape::Shape;

/// What is known of one key, for the reference and for naming it in faults.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// `section.key`.
    pub path: &'static str,
    /// What values it takes.
    pub takes: &'static str,
    /// Its default: the value itself, or where it comes from when `derived`.
    pub default: &'static str,
    /// Whether the default is computed from other keys or from the host.
    pub derived: bool,
    /// What it does, line by line.
    pub meaning: &'static [&'static str],
}

impl Key {
    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("{}{}", super::VARIABLE_PREFIX, self.path.to_uppercase().replace('.', "__"))
    }

    /// Its section.
    pub fn section(&self) -> &'static str {
        self.path.split_once('.').map_or(self.path, |(section, _)| section)
    }

    /// What it does, as one text.
    pub fn text(&self) -> String {
        self.meaning.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }
}

/// Reads the given values one by one and remembers what is wrong with them.
pub(super) struct Reader<'a> {
    pub(super) given: &'a Given,
    pub(super) faults: &'a mut Vec<Fault>,
}

impl Reader<'_> {
    /// The value of a key: as given, or else its default. A value that cannot be read is a fault, and
    /// the default stands in for it so that the other keys are looked at too.
    /// `None` only if the default as declared cannot be read, which is a fault as well.
    pub(super) fn take<T>(
        &mut self,
        path: &'static str,
        shape: &Shape<T>,
        default: impl FnOnce() -> crate::Result<T>,
    ) -> Option<T> {
        if let Some((text, origin)) = self.given.get(path) {
            match (shape.read)(text) {
                Ok(value) => return Some(value),
                Err(error) => self.faults.push(Fault::new(path, origin.clone(), error)),
            }
        }
        default().map_err(|error| self.faults.push(Fault::new(path, Origin::Default, error))).ok()
    }
}

/// `section: Struct { key: type = SHAPE, "default"; }`, or `"what the default is" => expression` for
/// a default that is computed; the expression may use the host and the keys above it.
macro_rules! settings {
    (@default $shape:expr, $text:literal) => { ($shape.read)($text) };
    (@default $shape:expr, $text:literal $derived:expr) => { Ok($derived) };
    (@derived) => { false };
    (@derived $derived:expr) => { true };
    ($host:ident; $(
        $(#[doc = $about:literal])+
        $section:ident: $Section:ident {
            $( $(#[doc = $meaning:literal])+ $key:ident: $type:ty = $shape:expr, $default:literal $(=> $derived:expr)?; )+
        }
    )+) => {
        $(
            $(#[doc = $about])+
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $Section {
                $( $(#[doc = $meaning])+ pub $key: $type, )+
            }
        )+

        /// The whole configuration of a container, checked.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Config {
            $( $(#[doc = $about])+ pub $section: $Section, )+
        }

        /// Every section with what it is about, in the order of the reference.
        pub const SECTIONS: &[(&str, &[&str])] = &[ $( (stringify!($section), &[$($about),+]) ),+ ];

        /// Every key there is, in the order of the reference.
        pub const KEYS: &[Key] = &[ $($( Key {
            path: concat!(stringify!($section), ".", stringify!($key)),
            takes: $shape.takes,
            default: $default,
            derived: settings!(@derived $($derived)?),
            meaning: &[$($meaning),+],
        } ),+),+ ];

        impl Config {
            pub(super) fn read($host: &Host, reader: &mut Reader<'_>) -> Option<Config> {
                $(
                    let $section = {
                        $( let $key: $type = reader.take(
                            concat!(stringify!($section), ".", stringify!($key)),
                            &$shape,
                            || settings!(@default $shape, $default $($derived)?),
                        )?; )+
                        $Section { $($key),+ }
                    };
                )+
                Some(Config { $($section),+ })
            }

            /// Every key with its value as text that reads back as the same value.
            pub fn entries(&self) -> Vec<(&'static Key, String)> {
                let values = [ $($( ($shape.show)(&self.$section.$key) ),+),+ ];
                KEYS.iter().zip(values).collect()
            }
        }
    };
}
pub(super) use settings;
