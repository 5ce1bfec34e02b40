//! The declaration of a key: one entry of [`table!`] per key, and nothing else names it.
//!
//! An entry says what a person has to know (its documentation is the help of the reference and of the example config), what the
//! key takes ([`super::takes`]), what it is unwritten, with which probes it goes, and whether a reload may change it. From it
//! come the field of the public struct, the reader, the words of errors, the line at a reload, and the documentation.

use super::choice::Choice as _;
use super::probe::Scheme;
use super::takes::Takes;

/// A declared key, as the documentation and the words of errors need it.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    /// What it is, in Markdown.
    help: &'static str,
    /// The probes that it goes with; empty: all.
    pub(super) schemes: &'static [Scheme],
    pub(super) change: Change,
    pub(super) about: fn() -> About,
}

/// The keys of a table: several groups, as some are read together.
pub(super) type Level = &'static [&'static [Key]];

/// What there is to tell of a key.
#[derive(Debug)]
pub(super) struct About {
    /// What it takes, behind "allowed: ".
    pub(super) takes: String,
    /// What it is unwritten, in Markdown.
    pub(super) default: String,
    /// A value in TOML: the default, or an example.
    pub(super) example: String,
    /// The example config shows it as a comment: it is not the default.
    pub(super) commented: bool,
    /// The words that it takes, and what each means.
    pub(super) values: Vec<(&'static str, &'static str)>,
    /// The keys in it, if it is a table.
    pub(super) below: Level,
    /// The line above these; empty if it has a line of its own.
    pub(super) header: &'static str,
    /// What the example config has behind them.
    pub(super) more: &'static str,
}

/// What a key is if it is not written.
#[derive(Debug)]
pub(super) struct Unwritten<T> {
    pub(super) value: Option<T>,
    pub(super) required: bool,
    words: &'static str,
    example: &'static str,
    commented: bool,
}

/// It is this value.
pub(super) const fn is<T>(value: T) -> Unwritten<T> {
    Unwritten { value: Some(value), required: false, words: "", example: "", commented: false }
}

/// It has to be written; `example` is TOML, for the example config.
pub(super) const fn required<T>(example: &'static str) -> Unwritten<T> {
    Unwritten { value: None, required: true, words: "–", example, commented: false }
}

/// It depends on other keys or on the host: on what, in Markdown. The reader fills it in.
pub(super) const fn depends<T>(words: &'static str, example: &'static str) -> Unwritten<T> {
    Unwritten { value: None, required: false, words, example, commented: true }
}

impl<T> Unwritten<T> {
    /// The example config writes another value, as a comment.
    pub(super) const fn example(mut self, example: &'static str) -> Self {
        (self.example, self.commented) = (example, true);
        self
    }

    /// The example config cannot do without it.
    pub(super) const fn needed(mut self) -> Self {
        self.commented = false;
        self
    }
}

/// What it takes to change a key under a running agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A reload.
    Reload,
    /// A restart of the agent, over which the datapath keeps its flows.
    Restart,
    /// Another datapath: the flows are lost.
    Detach,
}

impl Change {
    /// What an operator has to do, if it is not a reload.
    #[must_use]
    pub const fn instead(self) -> Option<&'static str> {
        match self {
            Self::Reload => None,
            Self::Restart => Some("restart the agent; the datapath keeps its flows meanwhile"),
            Self::Detach => {
                Some("end the agent by `dtr-lb detach` and start it again; open connections are lost")
            }
        }
    }
}

impl Key {
    pub(super) const fn new(
        name: &'static str,
        help: &'static str,
        schemes: &'static [Scheme],
        change: Change,
        about: fn() -> About,
    ) -> Self {
        Self { name, help, schemes, change, about }
    }

    /// What it is, with all that the declaration says beside its help.
    pub(super) fn help(&self) -> String {
        let mut help: String = self.help.split_whitespace().collect::<Vec<_>>().join(" ");
        if !self.schemes.is_empty() {
            let words: Vec<_> = self.schemes.iter().map(|scheme| format!("`{}`", scheme.word())).collect();
            help.push_str(&format!(" Only with {}.", and(&words)));
        }
        if let Some(instead) = self.change.instead() {
            help.push_str(&format!(" A reload cannot change it: {instead}."));
        }
        help
    }
}

/// `a, b and c`.
pub(super) fn and(words: &[String]) -> String {
    joined(words, "and")
}

/// `a, b or c`.
pub(super) fn or(words: &[String]) -> String {
    joined(words, "or")
}

fn joined(words: &[String], last: &str) -> String {
    match words {
        [before @ .., end] if !before.is_empty() => format!("{} {last} {end}", before.join(", ")),
        [one] => one.clone(),
        _ => String::new(),
    }
}

impl About {
    /// Of a key that takes tables under a header.
    pub(super) fn table(header: &'static str, takes: &str, below: Level) -> Self {
        Self {
            takes: takes.to_owned(),
            default: String::new(),
            example: String::new(),
            commented: false,
            values: Vec::new(),
            below,
            header,
            more: "",
        }
    }

    pub(super) fn of<V, T: Takes<Value = V>>(takes: &T, unwritten: &Unwritten<V>) -> Self {
        let default = unwritten.value.as_ref().map(|value| takes.toml(value)).unwrap_or_default();
        Self {
            takes: takes.words(),
            example: if unwritten.example.is_empty() {
                default.clone()
            } else {
                unwritten.example.to_owned()
            },
            default: if unwritten.words.is_empty() {
                format!("`{default}`")
            } else {
                unwritten.words.to_owned()
            },
            commented: unwritten.commented,
            values: takes.values(),
            below: takes.below(),
            header: "",
            more: "",
        }
    }
}

/// Declares the keys of a table, as described above, and reads them.
///
/// The first form makes the public struct `$name` with a field for each key, and `$written`, which has each as a
/// [`super::node::Field`] before it is checked against others. Behind the keys may stand `written only { … }`, for keys that are no
/// fields of the struct, and `made { … }`, for fields that are no keys. The second form makes only `$written`.
macro_rules! table {
    (
        $(#[$about:meta])*
        $vis:vis struct $name:ident, $written:ident {
            $(
                $(#[doc = $help:literal])+
                $key:ident: $type:ty = $takes:expr, $unwritten:expr
                    $(, with $schemes:expr)? $(, changed by $change:ident)?;
            )*
        }
        $(written only {$(
            $(#[doc = $only_help:literal])+
            $only_key:ident: $only_type:ty = $only_takes:expr, $only_unwritten:expr;
        )*})?
        $(made {$(
            $(#[doc = $made_help:literal])+
            $made:ident: $made_type:ty,
        )*})?
    ) => {
        $(#[$about])*
        $vis struct $name {
            $($(#[doc = $help])+ pub $key: $type,)*
            $($($(#[doc = $made_help])+ pub $made: $made_type,)*)?
        }

        impl $name {
            /// What `after` says otherwise, key by key.
            pub(in crate::config) fn differences(&self, after: &Self) -> Vec<$crate::config::difference::Difference> {
                use $crate::config::difference::Difference;
                [$(
                    Difference::new(
                        stringify!($key), $crate::config::key::table!(@change $($change)?), &$takes, &self.$key, &after.$key,
                    ),
                )*].into_iter().flatten().collect()
            }
        }

        $crate::config::key::table! {
            $written {
                $($(#[doc = $help])+ $key: $type = $takes, $unwritten $(, with $schemes)? $(, changed by $change)?;)*
                $($($(#[doc = $only_help])+ $only_key: $only_type = $only_takes, $only_unwritten;)*)?
            }
        }

        impl $written<'_> {
            /// The struct, if nothing in it is wrong.
            pub(in crate::config) fn finish(self, $($($made: Option<$made_type>),*)?) -> Option<$name> {
                Some($name { $($key: self.$key.value?,)* $($($made: $made?,)*)? })
            }
        }
    };
    (
        $written:ident {
            $(
                $(#[doc = $help:literal])+
                $key:ident: $type:ty = $takes:expr, $unwritten:expr
                    $(, with $schemes:expr)? $(, changed by $change:ident)?;
            )*
        }
    ) => {
        /// The keys as they were read, before they are checked against others.
        #[derive(Debug)]
        pub(in crate::config) struct $written<'a> {
            $(pub(in crate::config) $key: $crate::config::node::Field<'a, $type>,)*
        }

        impl<'a> $written<'a> {
            pub(in crate::config) const KEYS: &'static [$crate::config::key::Key] = &[$(
                $crate::config::key::Key::new(
                    stringify!($key),
                    concat!($($help, "\n"),+),
                    $crate::config::key::table!(@schemes $($schemes)?),
                    $crate::config::key::table!(@change $($change)?),
                    || $crate::config::key::About::of::<$type, _>(&$takes, &$unwritten),
                ),
            )*];

            /// Reads every key, whatever the others hold, so that all problems come out at once.
            pub(in crate::config) fn read(
                table: &$crate::config::node::Table<'a>,
                problems: &mut $crate::config::problems::Problems<'_>,
            ) -> Self {
                Self { $($key: table.field(stringify!($key), &$takes, $unwritten, problems),)* }
            }
        }
    };
    (@schemes) => { &[] };
    (@schemes $schemes:expr) => { $schemes };
    (@change) => { $crate::config::key::Change::Reload };
    (@change $change:ident) => { $crate::config::key::Change::$change };
}

pub(super) use table;
