//! The keywords of keepalived.conf, and what becomes of each.
//!
//! Where an argument matters, the code that reads it has the last word; this is what becomes of it as a rule.

mod balancing;
mod vrrp;

use std::{collections::HashMap, sync::LazyLock};

use super::tree::Node;
use crate::{outcome::Outcome, report::Ledger};

/// The block that a keyword stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Context {
    Top,
    Globals,
    Ssl,
    Vrrp,
    SyncGroup,
    Script,
    TrackFile,
    TrackProcess,
    GarpGroup,
    Authentication,
    Bfd,
    VirtualServer,
    RealServer,
    /// HTTP_GET and SSL_GET.
    Http,
    Url,
    Tcp,
    Smtp,
    Misc,
    Dns,
    Udp,
    Ping,
    File,
    BfdCheck,
}

/// What stands in a keyword's block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    Nothing,
    /// Lines that are no keywords: what is said of their block holds for them.
    Values,
    Keywords(Context),
}

const UNREAD: &str = "of a block that cannot be read";
const UNKNOWN: &str = "dtr-lb does not know it; it stays in keepalived.conf";

struct Group {
    contexts: &'static [Context],
    outcome: Outcome,
    why: &'static str,
    inside: Inside,
    /// With spaces between them.
    names: &'static str,
}

const fn group(
    contexts: &'static [Context],
    outcome: Outcome,
    why: &'static str,
    inside: Inside,
    names: &'static str,
) -> Group {
    Group { contexts, outcome, why, inside, names }
}

use Context::{Authentication, Bfd, GarpGroup, Globals, Script, SyncGroup, TrackFile, TrackProcess, Vrrp};
use Inside::{Keywords, Nothing, Values};
use Outcome::LeftOut;

fn groups() -> impl Iterator<Item = &'static Group> {
    vrrp::GROUPS.iter().chain(balancing::GROUPS)
}

/// All keywords, each in each of its blocks.
fn keywords() -> impl Iterator<Item = (Context, &'static str, &'static Group)> {
    groups().flat_map(|group| {
        group
            .contexts
            .iter()
            .flat_map(move |context| group.names.split_whitespace().map(move |name| (*context, name, group)))
    })
}

static BY_NAME: LazyLock<HashMap<(Context, &'static str), &'static Group>> =
    LazyLock::new(|| keywords().map(|(context, name, group)| ((context, name), group)).collect());

/// Each keyword that is known in its block, and what becomes of it as a rule.
pub fn known() -> impl Iterator<Item = (&'static str, &'static str)> {
    keywords().map(|(_, name, group)| (name, group.outcome.list()))
}

/// Says what becomes of a keyword and of its block, by the table.
pub(super) fn tell(context: Context, node: &Node, ledger: &mut Ledger) {
    let Some(group) = BY_NAME.get(&(context, node.name.as_str())) else {
        if is_of_vrrp(context) {
            ledger.left_out(node.at, UNKNOWN);
            tell_values(node, LeftOut, UNKNOWN, ledger);
        } else {
            let why = format!("dtr-lb does not know {:?} here; nothing was made of it", node.name);
            ledger.left_out_that_decides(node.at, why);
            tell_values(node, LeftOut, UNREAD, ledger);
        }
        return;
    };
    group.outcome.say(node.at, group.why, ledger);
    match group.inside {
        Nothing => {
            for child in &node.children {
                let why = format!("{} has no block: one keyword stands on a line", node.name);
                ledger.fault_that_decides(child.at, why);
                tell_values(child, LeftOut, UNREAD, ledger);
            }
        }
        Values => tell_values(node, group.outcome, group.why, ledger),
        Keywords(inner) => node.children.iter().for_each(|child| tell(inner, child, ledger)),
    }
}

/// What is in a block is what its block is.
pub(super) fn tell_values(node: &Node, outcome: Outcome, why: &str, ledger: &mut Ledger) {
    for child in &node.children {
        outcome.say(child.at, why, ledger);
        tell_values(child, outcome, why, ledger);
    }
}

/// Blocks that stay with keepalived, whatever is in them.
fn is_of_vrrp(context: Context) -> bool {
    matches!(
        context,
        Globals | Vrrp | SyncGroup | Script | TrackFile | TrackProcess | GarpGroup | Authentication | Bfd
    )
}
