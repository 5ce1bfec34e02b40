//! The members of what AWS prints of its load balancers, and what becomes of each as a rule.
//!
//! Where a value matters, the code that reads it has the last word.

mod classic;
mod v2;

use std::{collections::HashMap, sync::LazyLock};

use super::{json::RawMember, tree::Value};
use crate::{outcome::Outcome, report::Ledger};

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Context {
    /// What a command prints: lists of the others.
    Output,
    /// A classic load balancer.
    Classic,
    ListenerDescription,
    ClassicListener,
    HealthCheck,
    ClassicInstance,
    Policies,
    Backend,
    PolicyDescription,
    ClassicAttributes,
    ConnectionSettings,
    InstanceState,
    /// A load balancer of the second kind: network, application, gateway.
    Balancer,
    Zone,
    ZoneAddress,
    Listener,
    Action,
    ForwardConfig,
    WeightedGroup,
    TargetGroup,
    Matcher,
    Health,
    Target,
    Attribute,
    Rule,
    Reservation,
    Instance,
    SecurityGroup,
}

/// What is in a member's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    /// Nothing that is read by itself.
    Whole,
    /// An object, or objects, of this kind.
    Objects(Context),
}

/// Members of which the same becomes.
struct Group {
    context: Context,
    outcome: Outcome,
    why: &'static str,
    inside: Inside,
    /// With spaces between them.
    names: &'static str,
}

const fn group(
    context: Context,
    outcome: Outcome,
    why: &'static str,
    inside: Inside,
    names: &'static str,
) -> Group {
    Group { context, outcome, why, inside, names }
}

fn keywords() -> impl Iterator<Item = (Context, &'static str, &'static Group)> {
    let groups = classic::GROUPS.iter().chain(v2::GROUPS);
    groups.flat_map(|group| group.names.split_whitespace().map(move |name| (group.context, name, group)))
}

static BY_NAME: LazyLock<HashMap<(Context, &'static str), &'static Group>> =
    LazyLock::new(|| keywords().map(|(context, name, group)| ((context, name), group)).collect());

/// Each member that is known in its object, and each attribute, and what becomes of it as a rule.
pub fn known() -> impl Iterator<Item = (&'static str, &'static str)> {
    let attributes = super::attributes::KNOWN.iter().map(|(name, outcome, _)| (*name, outcome.list()));
    keywords().map(|(_, name, group)| (name, group.outcome.list())).chain(attributes)
}

/// What is in a member's value, if it is read by itself.
pub(super) fn within(context: Context, key: &str) -> Option<Context> {
    match BY_NAME.get(&(context, key))?.inside {
        Inside::Whole => None,
        Inside::Objects(inner) => Some(inner),
    }
}

/// Says what becomes of an object's members, by the table.
pub(super) fn tell(context: Context, object: &Value, ledger: &mut Ledger) {
    for member in object.members() {
        let Some(group) = BY_NAME.get(&(context, member.key.as_str())) else {
            let why = format!("dtr-lb does not know {:?}; nothing was made of it", member.key);
            // EC2 knows hosts by ever more names, and only their addresses count.
            if matches!(context, Context::Instance | Context::Reservation) {
                ledger.left_out(member.at, why);
            } else {
                ledger.left_out_that_decides(member.at, why);
            }
            continue;
        };
        // What says nothing is taken, whatever it might say.
        let outcome = if member.value.is_empty() { Outcome::Taken } else { group.outcome };
        let why = if member.value.is_empty() { "" } else { group.why };
        outcome.say(member.at, why, ledger);
        if let Inside::Objects(inner) = group.inside {
            for item in member.value.items() {
                match item.members() {
                    [] => outcome.say(item.at, why, ledger),
                    _ => tell(inner, item, ledger),
                }
            }
        }
    }
}

/// What an object at the top of a file is, by its members.
pub(super) fn shape(members: &[RawMember]) -> Context {
    let has = |key: &str| members.iter().any(|member| member.key == key);
    let any = |keys: &[&str]| keys.iter().any(|key| has(key));
    // The first one that fits.
    if any(&["ListenerDescriptions", "BackendServerDescriptions", "CanonicalHostedZoneNameID"])
        || (has("HealthCheck") && any(&["Instances", "LoadBalancerName"]))
    {
        Context::Classic
    } else if has("RuleArn") || (has("Conditions") && has("Priority")) {
        Context::Rule
    } else if any(&["ListenerArn", "DefaultActions"]) {
        Context::Listener
    } else if any(&["TargetGroupName", "HealthCheckProtocol"]) {
        Context::TargetGroup
    } else if has("LoadBalancerArn") && any(&["Type", "DNSName", "State"]) {
        Context::Balancer
    } else if has("TargetHealth") {
        Context::Health
    } else if has("Key") && has("Value") {
        Context::Attribute
    } else if has("IpPermissions") {
        Context::SecurityGroup
    } else if has("ReservationId") {
        Context::Reservation
    } else if has("InstanceId") && any(&["PrivateIpAddress", "InstanceType"]) {
        Context::Instance
    } else {
        Context::Output
    }
}
