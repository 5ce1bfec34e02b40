//! Says of each statement what became of it, where its reader did not.

use std::collections::HashSet;

use super::{
    access,
    frontends::Reader,
    keywords::{self, Context},
    proxies::Proxies,
    sections::{Kind, Line, Section},
};
use crate::report::{At, Ledger};

/// What became of a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A service, or a service's servers.
    Serves,
    /// Pages of HAProxy's own.
    Pages,
    /// Clients connect there, and no server is behind it.
    Nowhere(String),
    /// It is switched off.
    Disabled,
    /// Clients get there only by rules that are not kept.
    ByRules,
    Unused,
}

const PAGES: &str = "pages of HAProxy's own: dtr-lb's are the dashboard, /metrics and /healthz at agent.http, and `dtr-lb status`";

/// Goes through all sections.
pub(super) fn tell(
    sections: &[Section],
    proxies: &Proxies<'_>,
    reader: &Reader<'_, '_>,
    ledger: &mut Ledger,
) {
    let mut roles = proxies.list.iter().zip(&reader.roles).peekable();
    let tables = proxies.table_names();
    let idle = &reader.idle;
    for (index, section) in sections.iter().enumerate() {
        let role = roles
            .next_if(|(proxy, _)| proxy.index == index)
            .map(|(proxy, role)| (role, proxy.settings.is_http()));
        match (section.kind, role) {
            (Kind::Other(other), _) => {
                for at in std::iter::once(section.at).chain(section.lines.iter().map(|line| line.at)) {
                    if other.differs { ledger.differs(at, other.why) } else { ledger.left_out(at, other.why) }
                }
                if other.decides {
                    ledger.left_out_that_decides(section.at, other.why);
                }
            }
            (Kind::Global, _) => {
                ledger.taken(section.at, "");
                section.lines.iter().for_each(|line| by_keyword(line, Context::Global, true, idle, ledger));
            }
            (Kind::Defaults, _) => match proxies.used_defaults.get(&index) {
                Some(is_http) => {
                    ledger.taken(section.at, "");
                    section
                        .lines
                        .iter()
                        .for_each(|line| by_keyword(line, Context::Proxy, *is_http, idle, ledger));
                }
                None => all_left_out(section, "no proxy takes these defaults", ledger),
            },
            (_, Some((role, is_http))) => {
                proxy(section, role, is_http, tables.contains(section.name.as_str()), idle, ledger)
            }
            (_, None) => {}
        }
    }
}

fn proxy(
    section: &Section,
    role: &Role,
    is_http: bool,
    has_table: bool,
    idle: &HashSet<At>,
    ledger: &mut Ledger,
) {
    let lines = &section.lines;
    match role {
        Role::Serves => {
            ledger.taken(section.at, "");
            lines.iter().for_each(|line| by_keyword(line, Context::Proxy, is_http, idle, ledger));
        }
        Role::Pages => {
            for at in std::iter::once(section.at).chain(lines.iter().map(|line| line.at)) {
                if ledger.is_open(at) || at == section.at {
                    ledger.differs(at, PAGES);
                }
            }
        }
        Role::Nowhere(why) => {
            ledger.left_out_that_decides(section.at, format!("no service is made of it: {why}"));
            for line in lines {
                if line.word(0) == "bind" {
                    ledger.left_out_that_decides(line.at, format!("nobody is served here: {why}"));
                }
                by_keyword(line, Context::Proxy, is_http, idle, ledger);
            }
        }
        Role::Disabled => all_left_out(section, "it is disabled in the original", ledger),
        Role::ByRules => {
            ledger.left_out_that_decides(
                section.at,
                "clients get there by rules alone that dtr-lb does not keep",
            );
            all_left_out(section, "clients get there by rules alone that dtr-lb does not keep", ledger);
        }
        Role::Unused if has_table => all_left_out(section, "it only holds a stick table", ledger),
        Role::Unused => all_left_out(section, "no frontend leads to it: nothing is made of it", ledger),
    }
}

fn all_left_out(section: &Section, why: &str, ledger: &mut Ledger) {
    let open = |at: &At| ledger.is_open(*at);
    let all: Vec<At> =
        std::iter::once(section.at).chain(section.lines.iter().map(|line| line.at).filter(open)).collect();
    all.into_iter().for_each(|at| ledger.left_out(at, why));
}

/// What its keyword says, if nothing was said yet.
fn by_keyword(line: &Line, context: Context, is_http: bool, idle: &HashSet<At>, ledger: &mut Ledger) {
    if !ledger.is_open(line.at) || idle.contains(&line.at) {
        return;
    }
    let Some(group) = keywords::find(context, &line.words) else { return };
    if line.negated {
        ledger.taken(line.at, "");
    } else if group.is_http && !is_http {
        ledger.left_out(line.at, "it does nothing without `mode http`");
    } else if access::decides(line) {
        ledger.left_out(line.at, "there is no service that it is kept for");
    } else if line.word(0) == "stick-table" {
        ledger.left_out(line.at, "no rule uses it that dtr-lb has a use for");
    } else {
        group.tell(line.at, "", ledger);
    }
}
