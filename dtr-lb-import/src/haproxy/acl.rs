//! ACLs, and the conditions that are made of them: as sets of clients, where they speak of addresses alone.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
    time::Duration,
};

use ipnet::IpNet;

use super::{clients::Clients, sections::Line};
use crate::report::{At, Ledger};

/// More words than this are no condition that somebody wrote.
const MOST_WORDS: usize = 512;

/// What an ACL, or a part of a condition, speaks of.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Term {
    /// Clients' addresses.
    Sources(Rc<Vec<IpNet>>),
    Always(bool),
    /// New connections of one address: more than so many, in the time of this table.
    Rate {
        most: u32,
        table: Option<String>,
    },
    /// What dtr-lb cannot tell, and why.
    Unknown(String),
}

/// The ACLs of a proxy by their names. Several of one name hold if one of them does.
#[derive(Debug, Default)]
pub(super) struct Acls {
    by_name: HashMap<String, (Vec<At>, Vec<Term>)>,
    kept: HashSet<String>,
    lost: HashSet<String>,
}

impl Acls {
    pub(super) fn read(lines: &[&Line]) -> Self {
        let mut acls = Self::default();
        for line in lines {
            let term = term(line.from(2));
            let (places, terms) = acls.by_name.entry(line.word(1).to_owned()).or_default();
            places.push(line.at);
            // Of those that speak of addresses one list is made.
            match (terms.last_mut(), term) {
                (Some(Term::Sources(nets)), Term::Sources(more)) => Rc::make_mut(nets).extend(more.iter()),
                (_, term) => terms.push(term),
            }
        }
        acls
    }

    fn named(&self, name: &str) -> Term {
        match self.by_name.get(name) {
            Some((_, terms)) if terms.len() == 1 => terms[0].clone(),
            Some((_, terms)) => {
                let why = terms.iter().find_map(|term| match term {
                    Term::Unknown(why) => Some(why.clone()),
                    _ => None,
                });
                Term::Unknown(why.unwrap_or_else(|| format!("the ACL {name} speaks of several things")))
            }
            None => match name {
                "TRUE" | "always_true" => Term::Always(true),
                "FALSE" | "always_false" => Term::Always(false),
                "LOCALHOST" => Term::Sources(Rc::new("127.0.0.0/8".parse().into_iter().collect())),
                _ => Term::Unknown(format!("there is no ACL {name}")),
            },
        }
    }

    /// Notes which ACLs a condition names, and whether dtr-lb does what it says.
    pub(super) fn used(&mut self, names: impl IntoIterator<Item = String>, is_kept: bool) {
        let list = if is_kept { &mut self.kept } else { &mut self.lost };
        list.extend(names);
    }

    /// Says of each ACL what became of it.
    pub(super) fn tell(&self, ledger: &mut Ledger) {
        for (name, (places, terms)) in &self.by_name {
            for at in places {
                if self.lost.contains(name) {
                    let why = terms.iter().find_map(|term| match term {
                        Term::Unknown(why) => Some(why.as_str()),
                        _ => None,
                    });
                    ledger.left_out_that_decides(*at, why.unwrap_or("a rule that uses it is left out"));
                } else if self.kept.contains(name) {
                    ledger.taken(*at, "");
                } else {
                    ledger.left_out(*at, "no rule uses it that dtr-lb has a use for");
                }
            }
        }
    }
}

/// `[flags] CRITERION VALUES`.
fn term(words: &[String]) -> Term {
    let Some((criterion, values)) = words.split_first() else {
        return Term::Unknown("it says nothing".to_owned());
    };
    match criterion.as_str() {
        "src" | "src,ipmask(32)" => sources(values),
        "always_true" => Term::Always(true),
        "always_false" => Term::Always(false),
        criterion => rate(criterion, values)
            .unwrap_or_else(|| Term::Unknown(format!("it asks for {criterion}: {}", nature(criterion)))),
    }
}

/// What a criterion is about, in an operator's words.
fn nature(criterion: &str) -> &'static str {
    let starts = |with: &[&str]| with.iter().any(|with| criterion.starts_with(with));
    if starts(&["req_ssl", "req.ssl", "ssl_fc_sni", "ssl_fc_has_sni"]) {
        "dtr-lb does not look into TLS"
    } else if starts(&["ssl_", "client_crt"]) {
        "dtr-lb ends no TLS"
    } else if starts(&[
        "hdr", "req.hdr", "path", "url", "method", "req.", "req_", "http_", "base", "cook", "query",
        "capture", "payload", "HTTP", "METH", "res.",
    ]) {
        "dtr-lb does not read what clients send"
    } else if starts(&[
        "src_",
        "sc_",
        "sc0",
        "sc1",
        "sc2",
        "table_",
        "be_",
        "fe_",
        "srv_",
        "nbsrv",
        "connslots",
        "avg_queue",
        "queue",
    ]) {
        "dtr-lb decides nothing by such counts"
    } else {
        "dtr-lb decides by clients' addresses alone"
    }
}

fn sources(values: &[String]) -> Term {
    let mut nets = Vec::new();
    let mut values = values.iter();
    while let Some(value) = values.next() {
        match value.as_str() {
            "-m" => match values.next().map(String::as_str) {
                Some("ip") => {}
                _ => return Term::Unknown("addresses are compared as something else".to_owned()),
            },
            "-f" | "-M" => {
                let file = values.next().map_or("", String::as_str);
                return Term::Unknown(format!(
                    "the addresses are in the file {file}, which is not read: write them as `allow` or `deny`"
                ));
            }
            "-i" | "-n" | "--" => {}
            "-u" => drop(values.next()),
            value => match net(value) {
                Some(net) => nets.push(net),
                None => return Term::Unknown(format!("{value:?} is no network")),
            },
        }
    }
    if nets.is_empty() {
        Term::Unknown("it names no addresses".to_owned())
    } else {
        Term::Sources(Rc::new(nets))
    }
}

/// `10.0.0.1`, `10.0.0.0/8`, `10.0.0.0/255.0.0.0`.
fn net(text: &str) -> Option<IpNet> {
    let (address, length) =
        text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let address: std::net::IpAddr = address.parse().ok()?;
    let net = match length {
        None => IpNet::from(address),
        Some(mask) if mask.contains('.') => IpNet::with_netmask(address, mask.parse().ok()?).ok()?,
        Some(length) => IpNet::new(address, length.parse().ok()?).ok()?,
    };
    Some(net.trunc())
}

/// `src_conn_rate gt 10`, `sc0_conn_rate(table) ge 10`, `sc_conn_rate(0) gt 10`.
fn rate(criterion: &str, values: &[String]) -> Option<Term> {
    let (name, arguments) = criterion.split_once('(').unwrap_or((criterion, ""));
    let arguments: Vec<_> =
        arguments.trim_end_matches(')').split(',').map(str::trim).filter(|one| !one.is_empty()).collect();
    let table = match name {
        "src_conn_rate" | "sc0_conn_rate" | "sc1_conn_rate" | "sc2_conn_rate" => arguments.first(),
        "sc_conn_rate" => arguments.get(1),
        _ => return None,
    };
    let table = table.map(|table| (*table).to_owned());
    let values: Vec<_> =
        values.iter().map(String::as_str).filter(|value| !["-m", "int"].contains(value)).collect();
    let most = match values[..] {
        ["gt", number] => number.parse().ok()?,
        ["ge", number] => number.parse::<u32>().ok()?.checked_sub(1)?,
        _ => return None,
    };
    (most > 0).then_some(Term::Rate { most, table })
}

/// A condition as alternatives, all parts of one of which have to hold, or not to hold where they are negated.
#[derive(Debug, Default)]
pub(super) struct Condition {
    pub(super) alternatives: Vec<Vec<(bool, Term)>>,
    /// The ACLs in it.
    pub(super) names: Vec<String>,
    /// `unless`.
    pub(super) is_negated: bool,
}

impl Condition {
    /// Reads what stands behind `if` or `unless` in a line; without it the condition always holds.
    pub(super) fn of(words: &[String], acls: &Acls) -> Self {
        let Some(begin) = words.iter().position(|word| word == "if" || word == "unless") else {
            return Self { alternatives: vec![Vec::new()], ..Self::default() };
        };
        let mut condition = Self { is_negated: words[begin] == "unless", ..Self::default() };
        let mut all = Vec::new();
        let mut negated = false;
        if words.len() > MOST_WORDS {
            condition.alternatives.push(vec![(false, Term::Unknown("it is too long".to_owned()))]);
            return condition;
        }
        let mut index = begin + 1;
        while let Some(word) = words.get(index) {
            index += 1;
            if word == "or" || word == "||" {
                condition.alternatives.push(std::mem::take(&mut all));
                continue;
            }
            let name = word.trim_start_matches('!');
            negated ^= (word.len() - name.len()) % 2 == 1;
            if name.is_empty() {
                continue;
            }
            let term = if name == "{" {
                let end =
                    words[index..].iter().position(|word| word == "}").map_or(words.len(), |end| index + end);
                let term = term(&words[index..end]);
                index = end + 1;
                term
            } else {
                condition.names.push(name.to_owned());
                acls.named(name)
            };
            all.push((std::mem::take(&mut negated), term));
        }
        condition.alternatives.push(all);
        condition
    }

    /// Whom it holds for, or why that cannot be told.
    pub(super) fn clients(&self) -> Result<Clients, String> {
        let mut some = Clients::nobody();
        for alternative in &self.alternatives {
            let mut all = Clients::everyone();
            for (negated, term) in alternative {
                let clients = match term {
                    Term::Sources(nets) => Clients::of(nets),
                    Term::Always(true) => Clients::everyone(),
                    Term::Always(false) => Clients::nobody(),
                    Term::Rate { .. } => return Err("it counts connections".to_owned()),
                    Term::Unknown(why) => return Err(why.clone()),
                };
                all = all.intersection(&if *negated { clients.complement() } else { clients });
            }
            some = some.union(&all);
        }
        Ok(if self.is_negated { some.complement() } else { some })
    }

    /// The networks in it, where it holds for them, or (`true`) for all others.
    pub(super) fn plain(&self) -> Option<(bool, Vec<IpNet>)> {
        let mut nets = Vec::new();
        for alternative in &self.alternatives {
            match &alternative[..] {
                [(false, Term::Sources(list))] => nets.extend(list.iter().copied()),
                [(true, Term::Sources(list))] if self.alternatives.len() == 1 => {
                    return Some((!self.is_negated, list.to_vec()));
                }
                _ => return None,
            }
        }
        Some((self.is_negated, nets))
    }

    /// How many networks are in it.
    pub(super) fn size(&self) -> usize {
        let of_term = |term: &Term| if let Term::Sources(nets) = term { nets.len() } else { 1 };
        self.alternatives.iter().flatten().map(|(_, term)| of_term(term)).sum()
    }

    /// Whether it always holds.
    pub(super) fn is_always(&self) -> bool {
        !self.is_negated
            && self.alternatives.iter().any(|all| all.iter().all(|part| *part == (false, Term::Always(true))))
    }

    /// The rate that it is about, and nothing else.
    pub(super) fn rate(&self) -> Option<(u32, Option<&str>)> {
        match &self.alternatives[..] {
            [all] if !self.is_negated => match &all[..] {
                [(false, Term::Rate { most, table })] => Some((*most, table.as_deref())),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The time over which a table counts new connections: `store conn_rate(10s)`.
pub(super) fn rate_period(stick_table: &Line) -> Option<Duration> {
    let text = stick_table.words.iter().flat_map(|word| word.split_inclusive(')')).find_map(|part| {
        part.trim_start_matches(',')
            .rsplit_once("conn_rate(")
            .map(|(before, rest)| (before, rest.trim_end_matches(')')))
    });
    text.filter(|(before, _)| before.is_empty() || before.ends_with(','))
        .and_then(|(_, time)| super::time::read(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn condition(text: &str) -> Condition {
        Condition::of(&words(text), &Acls::default())
    }

    #[test]
    fn conditions_are_sets_of_clients() {
        let net = |text: &str| -> IpNet { text.parse().unwrap() };
        let (ten, one) = (net("10.0.0.0/8"), net("192.168.0.1/32"));
        let set = |nets: &[IpNet]| Ok(Clients::of(nets));
        for (text, expected) in [
            ("reject", Ok(Clients::everyone())),
            ("reject if { src 10.0.0.0/255.0.0.0 } or { src -n 192.168.0.1 }", set(&[ten, one])),
            ("reject if { src 10.0.0.0/8 } !{ src 10.0.0.0/9 }", set(&[net("10.128.0.0/9")])),
            ("reject unless { src -m ip 10.1.2.3/8 }", Ok(Clients::of(&[ten]).complement())),
            ("reject if ! ! { src 10.0.0.0/8 } || TRUE", Ok(Clients::everyone())),
            ("reject if LOCALHOST", set(&[net("127.0.0.0/8")])),
        ] {
            assert_eq!(condition(text).clients(), expected, "{text}");
        }
        for text in [
            "reject if { src -f /etc/list }",
            "reject if { src host.example.com }",
            "reject if nothing",
            "reject if { req.ssl_sni -i a } or { src 10.0.0.0/8 }",
            "reject if { src",
            "reject if {",
            "reject if { src_conn_rate gt 10 }",
        ] {
            assert!(condition(text).clients().is_err(), "{text}");
        }
    }

    #[test]
    fn rates() {
        assert_eq!(condition("reject if { src_conn_rate(t) gt 10 }").rate(), Some((10, Some("t"))));
        assert_eq!(condition("reject if { sc_conn_rate(0) ge 10 }").rate(), Some((9, None)));
        assert_eq!(condition("reject if { sc0_conn_rate lt 10 }").rate(), None);
        for (text, expected) in [
            ("stick-table type ip size 1m expire 30s store conn_rate(1s)", Some(1)),
            ("stick-table type ip size 1m store gpc0,conn_rate(3s),conn_cur", Some(3)),
            ("stick-table type ip size 1m store http_conn_rate(3s)", None),
            ("stick-table type ip size 1m", None),
        ] {
            let mut ledger = Ledger::default();
            let file = ledger.file("a");
            let line = Line { at: ledger.statement(file, (1, 1), text), words: words(text), negated: false };
            assert_eq!(rate_period(&line), expected.map(Duration::from_secs), "{text}");
        }
    }
}
