//! Asks DNS, as the host's own programs would: by /etc/resolv.conf (servers, search domains, time-outs), after a look at
//! /etc/hosts. Both are read anew for each look, so that a change to them needs no restart.
//!
//! What a resolver of the C library does not care about, and this does: whether a family has no addresses, or the server
//! did not say. So the search list is walked here, and a name is asked for both families before the next one is tried.

use std::{collections::BTreeSet, io, net::IpAddr, time::Duration};

use hickory_resolver::{
    Hosts, TokioResolver,
    config::{ResolveHosts, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::{Query, ResponseCode},
        rr::{Name, RData, Record, RecordType},
    },
    system_conf,
};
use tokio::time::timeout;

use super::{LookError, LookUp, Looked, Records};

/// /etc/hosts has no TTL.
const HOSTS_TTL: Duration = Duration::from_secs(10);
/// The longest that a look takes; resolv.conf may allow more.
const LIMIT: Duration = Duration::from_secs(20);

type Settings = (ResolverConfig, ResolverOpts);

type Read<T, E> = Box<dyn Fn() -> Result<T, E> + Send + Sync>;

/// DNS as this host uses it.
pub struct Dns {
    settings: Read<Settings, NetError>,
    hosts: Read<Hosts, io::Error>,
}

impl Dns {
    /// By /etc/resolv.conf and /etc/hosts.
    #[must_use]
    pub fn of_host() -> Self {
        Self { settings: Box::new(system_conf::read_system_conf), hosts: Box::new(Hosts::from_system) }
    }

    #[cfg(test)]
    pub(super) fn by(settings: impl Fn() -> Settings + Send + Sync + 'static) -> Self {
        Self { settings: Box::new(move || Ok(settings())), hosts: Box::new(|| Ok(Hosts::default())) }
    }

    async fn ask(&self, name: &str) -> Result<Looked, String> {
        let plain = Name::from_ascii(name).map_err(|error| error.to_string())?;
        // Without the file there is nothing in it.
        if let Some(looked) = (self.hosts)().ok().and_then(|hosts| in_hosts(&hosts, &plain)) {
            return Ok(looked);
        }
        let (config, mut options) =
            (self.settings)().map_err(|error| format!("/etc/resolv.conf cannot be used: {error}"))?;
        let candidates = candidates(&plain, &config, options.ndots);
        options.use_hosts_file = ResolveHosts::Never;
        options.cache_size = 0;
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .map_err(|error| error.to_string())?;
        let mut last = None;
        for candidate in candidates {
            let (v4, v6) = tokio::join!(
                resolver.lookup(candidate.clone(), RecordType::A),
                resolver.lookup(candidate, RecordType::AAAA),
            );
            let looked = Looked {
                v4: records(v4.map(|found| found.answers().to_vec())),
                v6: records(v6.map(|found| found.answers().to_vec())),
            };
            // After a failure the next one could be somebody else: a wildcard of a search domain, say.
            if !matches!((&looked.v4, &looked.v6), (Err(LookError::None(_)), Err(LookError::None(_)))) {
                return Ok(looked);
            }
            last = Some(looked);
        }
        last.ok_or_else(|| "no name to ask for".to_owned())
    }
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Dns").finish_non_exhaustive()
    }
}

impl LookUp for Dns {
    async fn look_up(&self, name: &str) -> Looked {
        let failed = |error: String| {
            let error = LookError::Failed(error);
            Looked { v4: Err(error.clone()), v6: Err(error) }
        };
        match timeout(LIMIT, self.ask(name)).await {
            Ok(looked) => looked.unwrap_or_else(failed),
            Err(_) => failed(format!("no answer within {} s", LIMIT.as_secs())),
        }
    }
}

/// The names to try, in order: resolv.conf(5), `search` and `ndots`.
fn candidates(name: &Name, config: &ResolverConfig, ndots: usize) -> Vec<Name> {
    let mut itself = name.clone();
    itself.set_fqdn(true);
    let domains = match config.search() {
        [] => config.domain().map_or(&[][..], std::slice::from_ref),
        search => search,
    };
    // One that would become too long is none.
    let searched = domains.iter().filter_map(|domain| name.clone().append_domain(domain).ok());
    let dots = usize::from(name.num_labels()).saturating_sub(1);
    let mut all: Vec<Name> = if dots >= ndots {
        std::iter::once(itself).chain(searched).collect()
    } else {
        searched.chain([itself]).collect()
    };
    let mut seen = BTreeSet::new();
    all.retain(|candidate| seen.insert(candidate.clone()));
    all
}

fn in_hosts(hosts: &Hosts, name: &Name) -> Option<Looked> {
    let of = |record_type| {
        let found = hosts.lookup_static_host(&Query::query(name.clone(), record_type));
        let found = found.map(|found| found.answers().to_vec()).unwrap_or_default();
        let records = records(Ok(found));
        records.map(|records| Records { ttl: HOSTS_TTL, ..records })
    };
    let looked = Looked { v4: of(RecordType::A), v6: of(RecordType::AAAA) };
    (looked.v4.is_ok() || looked.v6.is_ok()).then_some(looked)
}

/// What an answer says. The TTL is the least of all records in it, those of aliases (CNAME) too.
fn records(answer: Result<Vec<Record>, NetError>) -> Result<Records, LookError> {
    let answer = answer.map_err(|error| match &error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => {
                LookError::None(format!("there is no name {} (NXDOMAIN)", none.query.name()))
            }
            ResponseCode::NoError => no_addresses(),
            code => LookError::Failed(format!("the name server answers: {code}")),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => {
            LookError::Failed(format!("the name server answers: {code}"))
        }
        NetError::Timeout => LookError::Failed("no name server answers in time".into()),
        _ => LookError::Failed(format!("asking the name servers failed: {error}")),
    })?;
    let ttl = answer.iter().map(|record| record.ttl).min().unwrap_or_default();
    let address = |record: &Record| match &record.data {
        RData::A(a) => Some(IpAddr::from(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::from(aaaa.0)),
        _ => None,
    };
    let addresses: BTreeSet<_> = answer.iter().filter_map(address).collect();
    if addresses.is_empty() {
        return Err(no_addresses());
    }
    Ok(Records { addresses, ttl: Duration::from_secs(ttl.into()) })
}

fn no_addresses() -> LookError {
    LookError::None("the name has no addresses".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Settings {
        system_conf::parse_resolv_conf(text).unwrap()
    }

    #[test]
    fn names_are_tried_in_the_order_of_resolv_conf() {
        let server = "nameserver 192.0.2.53\n";
        let searching = "search a.example b.example\n";
        let cases = [
            ("dtr.example.com", "search .\n", vec!["dtr.example.com."]),
            (
                "dtr.example.com",
                searching,
                vec!["dtr.example.com.", "dtr.example.com.a.example.", "dtr.example.com.b.example."],
            ),
            ("dtr", searching, vec!["dtr.a.example.", "dtr.b.example.", "dtr."]),
            ("dtr", "domain c.example\n", vec!["dtr.c.example.", "dtr."]),
            ("dtr.eu", "search a.example\noptions ndots:2\n", vec!["dtr.eu.a.example.", "dtr.eu."]),
        ];
        for (name, more, expected) in cases {
            let (config, options) = config(&format!("{server}{more}"));
            let found = candidates(&Name::from_ascii(name).unwrap(), &config, options.ndots);
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{name} {more}");
        }
    }

    #[test]
    fn the_hosts_file_comes_first() {
        let mut hosts = Hosts::default();
        hosts
            .read_hosts_conf(&b"10.0.0.11 dtr1 dtr.example.com\n2001:db8::1 dtr.example.com # yes\n"[..])
            .unwrap();
        let look = |name: &str| in_hosts(&hosts, &Name::from_ascii(name).unwrap());
        let both = look("dtr.example.com").unwrap();
        assert_eq!(both.v4.unwrap(), Records { addresses: [[10, 0, 0, 11].into()].into(), ttl: HOSTS_TTL });
        assert_eq!(both.v6.unwrap().addresses, ["2001:db8::1".parse().unwrap()].into());
        let one = look("dtr1").unwrap();
        assert!(one.v4.is_ok() && matches!(one.v6, Err(LookError::None(_))), "{one:?}");
        assert_eq!(look("dtr2"), None);
    }
}
