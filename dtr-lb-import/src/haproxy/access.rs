//! Who is let in: from the rules of HAProxy's rulesets, of which each has to let a client in, to one list.

use super::{
    acl::{Acls, Condition},
    clients::Clients,
    sections::Line,
};
use crate::{
    job::{Rule, Said, Source},
    report::{At, Ledger},
};

/// More networks are not made rules of, in a service and in a file.
const MOST_RULES: usize = 4096;
const MOST_NETS: usize = 1 << 17;
const MOST_EVALUATED: usize = 1 << 14;

/// What keeps the work in proportion to the file, however often its networks are named.
#[derive(Debug, Default)]
pub(super) struct Effort {
    nets: usize,
    rules: usize,
}

/// What comes of the rules.
#[derive(Debug, Default)]
pub(super) struct Access {
    pub(super) rules: Vec<Said<Rule>>,
    pub(super) denied_are_reset: bool,
    /// There are too many of them in the file.
    pub(super) is_left_out: bool,
    /// Rules about how fast an address connects: at most so many, in the time of this table.
    pub(super) rates: Vec<Rate>,
}

#[derive(Clone, Debug)]
pub(super) struct Rate {
    pub(super) at: At,
    pub(super) most: u32,
    pub(super) table: Option<String>,
}

/// Which rules are evaluated together, one after the other. A client has to get through all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ruleset {
    Connection,
    Session,
    Content,
    Http,
}

/// What a rule does with whom it holds for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Accept,
    /// The client learns of it.
    Reject,
    /// It does not.
    Drop,
}

/// A rule that is kept.
struct Kept {
    at: At,
    action: Action,
    condition: Condition,
    clients: Clients,
}

/// Whether a rule lets in or keeps out.
pub(super) fn decides(line: &Line) -> bool {
    action(line).is_some()
}

/// A ruleset and its action, or what else a line does.
fn action(line: &Line) -> Option<(Ruleset, Action)> {
    let (ruleset, action) = match (line.word(0), line.word(1)) {
        ("tcp-request", "connection") => (Ruleset::Connection, line.word(2)),
        ("tcp-request", "session") => (Ruleset::Session, line.word(2)),
        ("tcp-request", "content") => (Ruleset::Content, line.word(2)),
        ("http-request", action) => (Ruleset::Http, action),
        ("block", _) => (Ruleset::Http, "deny"),
        _ => return None,
    };
    let action = match action {
        "accept" | "allow" => Action::Accept,
        "reject" | "deny" | "tarpit" => Action::Reject,
        "silent-drop" => Action::Drop,
        _ => return None,
    };
    Some((ruleset, action))
}

/// The rules of a proxy that a client has to get through.
#[derive(Debug)]
pub(super) struct Part<'a, 'l> {
    pub(super) lines: &'a [&'l Line],
    pub(super) acls: &'a mut Acls,
    /// Those of HTTP mean something.
    pub(super) is_http: bool,
}

/// Reads the rules of a frontend, and of its backend.
pub(super) fn read(parts: Vec<Part<'_, '_>>, effort: &mut Effort, ledger: &mut Ledger) -> Access {
    let mut access = Access::default();
    effort.rules += parts.iter().map(|part| part.lines.len()).sum::<usize>();
    if effort.rules > MOST_EVALUATED && parts.iter().any(|part| !part.lines.is_empty()) {
        access.is_left_out = true;
        return access;
    }
    let mut rulesets: Vec<Vec<Kept>> = Vec::new();
    for Part { lines, acls, is_http } in parts {
        for ruleset in [Ruleset::Connection, Ruleset::Session, Ruleset::Content, Ruleset::Http] {
            if ruleset == Ruleset::Http && !is_http {
                continue;
            }
            let of_it: Vec<_> = lines
                .iter()
                .filter_map(|line| {
                    action(line).filter(|(other, _)| *other == ruleset).map(|(_, action)| (*line, action))
                })
                .collect();
            let kept = ruleset_of(&of_it, ruleset, acls, effort, &mut access, ledger);
            if kept.iter().any(|rule| rule.action != Action::Accept) {
                rulesets.push(kept);
            }
        }
        for line in lines {
            if action(line).is_none() {
                other_action(line, ledger);
            }
        }
    }
    access.denied_are_reset = rulesets.iter().flatten().any(|rule| rule.action == Action::Reject);
    access.rules = match &rulesets[..] {
        [] => Vec::new(),
        [one] => plain(one).unwrap_or_else(|| computed(&rulesets)),
        several => computed(several),
    };
    if access.rules.len() > MOST_RULES {
        for rule in rulesets.iter().flatten() {
            ledger.left_out_that_decides(
                rule.at,
                format!("more than {MOST_RULES} networks: everyone is let in here"),
            );
        }
        access.rules.clear();
    }
    access
}

/// The rules of one ruleset that speak of addresses alone. What others do is told.
fn ruleset_of(
    lines: &[(&Line, Action)],
    ruleset: Ruleset,
    acls: &mut Acls,
    effort: &mut Effort,
    access: &mut Access,
    ledger: &mut Ledger,
) -> Vec<Kept> {
    let mut kept = Vec::new();
    let last_refusal = lines.iter().rposition(|(_, action)| *action != Action::Accept);
    // A rule before it lets in some of whom dtr-lb cannot tell who they are.
    let mut unknown_are_in: Option<At> = None;
    for (index, (line, action)) in lines.iter().enumerate() {
        let at = line.at;
        let condition = Condition::of(line.from(1), acls);
        effort.nets += condition.size();
        let is_deciding = last_refusal.is_some_and(|last| index <= last);
        if !is_deciding {
            ledger.differs(
                at,
                "no rule behind it keeps anyone out: dtr-lb lets everyone in, and waits for no content",
            );
            acls.used(condition.names, true);
            continue;
        }
        if let Some(before) = unknown_are_in {
            let before = ledger.place(before);
            ledger.left_out_that_decides(at, format!("{before} lets in some whom dtr-lb cannot tell from others, so that nobody is kept out here"));
            acls.used(condition.names, false);
            continue;
        }
        if let (Some((most, table)), Action::Reject | Action::Drop) = (condition.rate(), action) {
            access.rates.push(Rate { at, most, table: table.map(str::to_owned) });
            acls.used(condition.names, true);
            continue;
        }
        let clients = if effort.nets > MOST_NETS {
            Err("it names too many networks".to_owned())
        } else {
            condition.clients()
        };
        match clients {
            Ok(clients) => {
                if ruleset == Ruleset::Http && *action == Action::Reject {
                    ledger.differs(at, "a client that is kept out gets a reset instead of a page");
                } else {
                    ledger.taken(at, "allow and deny");
                }
                acls.used(condition.names.clone(), true);
                kept.push(Kept { at, action: *action, condition, clients });
            }
            Err(why) => {
                ledger.left_out_that_decides(at, why);
                acls.used(condition.names, false);
                if *action == Action::Accept {
                    unknown_are_in = Some(at);
                }
            }
        }
    }
    kept
}

/// What a `tcp-request` does that neither lets in nor keeps out.
fn other_action(line: &Line, ledger: &mut Ledger) {
    let bare =
        line.word(2).split('(').next().unwrap_or_default().trim_end_matches(|c: char| c.is_ascii_digit());
    match bare {
        "track-sc" => ledger.differs(line.at, "dtr-lb counts connections by itself: `dtr-lb flows`, and max_new_flows_per_source"),
        "expect-proxy" | "expect-netscaler-cip" => ledger.left_out_that_decides(
            line.at,
            "clients have to send a PROXY header here, which the servers would get: take it out where clients are, or have the servers read it",
        ),
        "set-src" | "set-dst" | "set-src-port" | "set-dst-port" | "do-resolve" | "set-var" | "set-var-fmt" | "unset-var"
        | "sc-inc-gpc" | "sc-add-gpc" | "sc-set-gpt" | "set-log-level" | "capture" | "set-nice" | "set-mark" | "set-tos"
        | "set-fc-mark" | "set-fc-tos" | "set-bc-mark" | "set-bc-tos" | "set-priority-class" | "set-priority-offset"
        | "set-retries" => ledger.differs(line.at, "nothing depends on it in dtr-lb"),
        "use-service" | "switch-mode" | "send-spoe-group" | "attach-srv" | "lua.do" => {
            ledger.left_out_that_decides(line.at, "dtr-lb does not look at what clients send");
        }
        _ => {}
    }
}

/// Rules of which the first that fits decides, if each of them is about a list of networks, or about all but a list.
fn plain(kept: &[Kept]) -> Option<Vec<Said<Rule>>> {
    let mut rules = Vec::new();
    for (index, Kept { at, action, condition, clients: _ }) in kept.iter().enumerate() {
        let mut push = |allow, of| rules.push(Said { value: Rule { allow, of }, at: *at });
        let allow = *action == Action::Accept;
        if condition.is_always() {
            push(allow, Source::All);
            return Some(rules);
        }
        match condition.plain()? {
            (false, nets) => nets.into_iter().for_each(|net| push(allow, Source::Net(net))),
            // All others: who is in the list is decided by what follows, and here nothing does.
            (true, nets) if index + 1 == kept.len() => {
                nets.into_iter().for_each(|net| push(!allow, Source::Net(net)));
                push(allow, Source::All);
            }
            (true, _) => return None,
        }
    }
    Some(rules)
}

/// Those that some ruleset keeps out, as networks.
fn computed(rulesets: &[Vec<Kept>]) -> Vec<Said<Rule>> {
    let mut denied = Clients::nobody();
    let mut at = None;
    for kept in rulesets {
        let mut undecided = Clients::everyone();
        for rule in kept {
            let hit = rule.clients.intersection(&undecided);
            if rule.action != Action::Accept {
                denied = denied.union(&hit);
                at = Some(rule.at);
            }
            undecided = undecided.intersection(&hit.complement());
        }
    }
    let Some(at) = at.filter(|_| !denied.is_nobody()) else { return Vec::new() };
    let rules = denied.rules().into_iter();
    rules.map(|(deny, net)| Said { value: Rule { allow: !deny, of: Source::Net(net) }, at }).collect()
}
