//! The objects of all files, by what they are.

use std::net::IpAddr;

use super::{
    attributes::{Kind, Set},
    fields::{Context, tell},
    security::Groups,
    tree::{Member, Value},
};
use crate::report::Ledger;

/// Objects, in the order of the files.
pub(super) struct Model<'a> {
    pub(super) classics: Vec<&'a Value>,
    pub(super) classic_attributes: Vec<&'a Value>,
    pub(super) balancers: Vec<&'a Value>,
    pub(super) listeners: Vec<&'a Value>,
    pub(super) groups: Vec<&'a Value>,
    /// What one `describe-target-health` says, which does not say of which group.
    pub(super) healths: Vec<Healths<'a>>,
    pub(super) security: Groups,
    instances: Vec<&'a Value>,
    sets: Vec<Set>,
}

pub(super) struct Healths<'a> {
    /// If somebody wrote it in.
    pub(super) group: Option<&'a str>,
    pub(super) targets: Vec<&'a Value>,
}

impl<'a> Model<'a> {
    /// Gathers, and says of each member what becomes of it as a rule.
    pub(super) fn of(files: &'a [Vec<(Context, Value)>], ledger: &mut Ledger) -> Self {
        let mut model = Self {
            classics: Vec::new(),
            classic_attributes: Vec::new(),
            balancers: Vec::new(),
            listeners: Vec::new(),
            groups: Vec::new(),
            healths: Vec::new(),
            security: Groups::default(),
            instances: Vec::new(),
            sets: Vec::new(),
        };
        for file in files {
            let (mut attributes, mut targets) = (Vec::new(), Vec::new());
            for (context, object) in file {
                tell(*context, object, ledger);
                match context {
                    Context::Output => model.output(object, ledger),
                    Context::Attribute => attributes.push(object),
                    Context::Health => targets.push(object),
                    other => model.object(*other, object, ledger),
                }
            }
            if !attributes.is_empty() {
                model.sets.push(Set::read(attributes.into_iter(), ledger));
            }
            if !targets.is_empty() {
                model.healths.push(Healths { group: None, targets });
            }
        }
        model
    }

    /// What a command prints.
    fn output(&mut self, output: &'a Value, ledger: &mut Ledger) {
        for (key, context) in [
            ("LoadBalancerDescriptions", Context::Classic),
            ("LoadBalancers", Context::Balancer),
            ("Listeners", Context::Listener),
            ("TargetGroups", Context::TargetGroup),
            ("LoadBalancerAttributes", Context::ClassicAttributes),
            ("Rules", Context::Rule),
            ("Reservations", Context::Reservation),
            ("SecurityGroups", Context::SecurityGroup),
            ("PolicyDescriptions", Context::PolicyDescription),
        ] {
            output.items_of(key).iter().for_each(|object| self.object(context, object, ledger));
        }
        let attributes = output.items_of("Attributes");
        if !attributes.is_empty() {
            self.sets.push(Set::read(attributes.iter(), ledger));
        }
        let targets = output.items_of("TargetHealthDescriptions");
        if !targets.is_empty() {
            let group = output.text_of("TargetGroupArn");
            self.healths.push(Healths { group, targets: targets.iter().collect() });
        }
    }

    fn object(&mut self, context: Context, object: &'a Value, ledger: &mut Ledger) {
        match context {
            Context::Classic => self.classics.push(object),
            Context::ClassicAttributes => self.classic_attributes.push(object),
            Context::Balancer => self.balancers.push(object),
            Context::Listener => self.listeners.push(object),
            Context::TargetGroup => self.groups.push(object),
            Context::Rule => rule(object, ledger),
            Context::Reservation => self.instances.extend(object.items_of("Instances")),
            Context::Instance => self.instances.push(object),
            Context::SecurityGroup => self.security.read(object, ledger),
            Context::PolicyDescription => policy(object, ledger),
            _ => {}
        }
    }

    /// Addresses of instances.
    pub(super) fn hosts(&self) -> impl Iterator<Item = (String, IpAddr)> {
        self.instances.iter().filter_map(|instance| {
            let address = instance.text_of("PrivateIpAddress")?.parse().ok()?;
            Some((instance.text_of("InstanceId")?.to_owned(), address))
        })
    }

    /// The attributes of the object at this place among so many of its kind. What is printed of them does not say whose they are: one
    /// set is that of all, several are in the order of what they are of.
    pub(super) fn attributes(&self, kind: Kind, place: usize) -> Option<&Set> {
        let mut sets = self.sets.iter().filter(|set| set.kind == kind);
        match sets.clone().count() {
            1 => sets.next(),
            _ => sets.nth(place),
        }
    }
}

/// A rule of an application load balancer.
fn rule(rule: &Value, ledger: &mut Ledger) {
    let is_default = rule.text_of("IsDefault") == Some("true") || rule.text_of("Priority") == Some("default");
    if is_default {
        return;
    }
    for Member { key, at, value, .. } in rule.members() {
        if matches!(key.as_str(), "Actions" | "Conditions" | "Transforms") && !value.is_empty() {
            ledger.left_out_that_decides(
                *at,
                "dtr-lb does not read HTTP: all connections of a port go to the same replicas, whatever they ask for",
            );
        }
    }
}

/// A policy of a classic load balancer.
fn policy(policy: &Value, ledger: &mut Ledger) {
    if let Some(kind) = policy.get("PolicyTypeName")
        && kind.value.text() == Some("ProxyProtocolPolicyType")
    {
        ledger.left_out_that_decides(
            kind.at,
            "dtr-lb does not send the PROXY protocol: replicas that expect it refuse clients until they are told that none comes",
        );
    }
}
