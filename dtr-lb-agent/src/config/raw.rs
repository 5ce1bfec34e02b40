//! The shape of the file: which keys there are and of which type, each value with its span.
//!
//! Nothing is required and nothing has a default here; what a value means is for the readers. Types stay as wide as
//! TOML's, so that `port = 70000` is told the range of a port and not that of a machine integer.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use toml::Spanned;

use super::field::Shown;

pub(super) type Text = Option<Spanned<String>>;
pub(super) type Number = Option<Spanned<i64>>;
pub(super) type Texts = Option<Spanned<Vec<Spanned<String>>>>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    pub(super) vip: Option<Spanned<OneOrMany>>,
    pub(super) interfaces: Texts,
    pub(super) host: Text,
    pub(super) preset: Text,
    pub(super) datapath: Option<Spanned<TableOf<RawDatapath>>>,
    pub(super) service: Option<Spanned<Vec<Spanned<TableOf<RawService>>>>>,
    pub(super) replica: Option<Spanned<Vec<Spanned<TableOf<RawReplica>>>>>,
    pub(super) agent: Option<Spanned<TableOf<RawAgent>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDatapath {
    pub(super) attach: Text,
    pub(super) max_flows: Number,
    pub(super) nat_ports: Text,
    pub(super) nat_addresses: Texts,
    pub(super) tunnel_sources: Texts,
    pub(super) idle_timeout: Text,
    pub(super) hash_seed: Number,
    pub(super) all_down: Text,
    pub(super) on_down: Text,
    pub(super) syn_challenge: Text,
    pub(super) macs: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawService {
    pub(super) name: Text,
    pub(super) port: Number,
    pub(super) vip: Option<Spanned<OneOrMany>>,
    pub(super) mode: Text,
    pub(super) replica_port: Number,
    pub(super) affinity: Text,
    pub(super) replicas: Texts,
    pub(super) backup: Texts,
    pub(super) max_fails: Number,
    pub(super) fail_timeout: Text,
    pub(super) allow: Texts,
    pub(super) deny: Texts,
    pub(super) denied: Text,
    pub(super) max_flows_per_replica: Number,
    pub(super) max_new_flows_per_source: Number,
    pub(super) affinity_timeout: Text,
    pub(super) probe: Option<Spanned<TableOf<RawProbe>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProbe {
    pub(super) scheme: Text,
    pub(super) port: Number,
    pub(super) method: Text,
    pub(super) path: Text,
    pub(super) host: Text,
    pub(super) headers: Texts,
    pub(super) request_body: Text,
    pub(super) verify: Option<Spanned<BoolOrText>>,
    pub(super) alpn: Texts,
    pub(super) status: Texts,
    pub(super) body: Text,
    pub(super) reject_body: Text,
    pub(super) expect_headers: Texts,
    pub(super) reject_headers: Texts,
    pub(super) steps: Option<Spanned<Vec<Spanned<TableOf<RawStep>>>>>,
    pub(super) interval: Text,
    pub(super) fast_interval: Text,
    pub(super) down_interval: Text,
    pub(super) timeout: Text,
    pub(super) rise: Number,
    pub(super) fall: Number,
    pub(super) jitter: Text,
    pub(super) agent_port: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStep {
    pub(super) send: Text,
    pub(super) send_hex: Text,
    pub(super) expect: Text,
    pub(super) reject: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawReplica {
    pub(super) name: Text,
    pub(super) address: Text,
    pub(super) weight: Number,
    pub(super) slow_start: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAgent {
    pub(super) socket: Text,
    pub(super) bpffs: Text,
    pub(super) http: Text,
    pub(super) http_names: Texts,
    pub(super) admin_token_file: Text,
}

/// A `T` that is written as a table. serde would also take a list, with the values in the order of the fields.
#[derive(Debug)]
pub(super) struct TableOf<T>(T);

impl<T> Deref for TableOf<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TableOf<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyATable<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyATable<T> {
            type Value = TableOf<T>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TableOf<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(TableOf)
            }
        }

        deserializer.deserialize_map(OnlyATable(PhantomData))
    }
}

/// `"a"` or `["a", "b"]`. By hand: serde's untagged enums lose the spans inside.
#[derive(Debug)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = OneOrMany;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a string or a list of strings")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMany, A::Error> {
                let mut many = Vec::new();
                while let Some(item) = list.next_element()? {
                    many.push(item);
                }
                Ok(OneOrMany::Many(many))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl Shown for OneOrMany {
    fn shown(&self) -> String {
        match self {
            Self::One(text) => text.shown(),
            Self::Many(texts) => texts.shown(),
        }
    }
}

/// `true`, `false` or a string.
#[derive(Debug)]
pub(super) enum BoolOrText {
    Bool(bool),
    Text(String),
}

impl<'de> Deserialize<'de> for BoolOrText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = BoolOrText;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("true, false or a string")
            }

            fn visit_bool<E: Error>(self, yes: bool) -> Result<BoolOrText, E> {
                Ok(BoolOrText::Bool(yes))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<BoolOrText, E> {
                Ok(BoolOrText::Text(text.to_owned()))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl Shown for BoolOrText {
    fn shown(&self) -> String {
        match self {
            Self::Bool(yes) => yes.to_string(),
            Self::Text(text) => text.shown(),
        }
    }
}
