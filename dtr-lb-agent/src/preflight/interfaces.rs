//! The interfaces of a config: whether they are there, and what is on them.

use std::path::Path;

use dtr_lb_common::abi::program;

use super::{
    device::{self, Device},
    finding::Findings,
};
use crate::{
    config::{Attach, Config},
    datapath::{self, DatapathError},
    interface::{self, InterfaceError, Links, Seen},
};

/// What was found.
#[derive(Debug)]
pub(super) struct Facts {
    /// Those of the config.
    pub(super) seen: Result<Vec<Seen>, String>,
    /// The names of all that there are.
    pub(super) known: Vec<String>,
    /// The XDP programs on those of the config, each with the interface's name.
    pub(super) programs: Vec<(String, Program)>,
    pub(super) devices: Vec<Device>,
}

/// An XDP program that is on an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) id: u32,
    /// `None`: the kernel does not tell those who lack CAP_BPF. An empty one: it has none.
    pub(super) name: Option<String>,
    /// Whether a link of this interface is pinned where the config has its pins; `None`: that may not be looked at.
    pub(super) pinned: Option<bool>,
}

/// Whose an XDP program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// The datapath that this config adopts.
    Ours,
    /// Of a dtr-lb with other pins, or without.
    AnotherDtrLb,
    Foreign,
    /// This process may not know.
    Unknown,
}

impl Program {
    fn read(id: u32, interface: u32, bpffs: &Path) -> Self {
        Self {
            id,
            name: interface::xdp_program_name(id),
            pinned: datapath::xdp_link_is_pinned(bpffs, interface).ok(),
        }
    }

    fn whose(&self) -> Whose {
        match (self.name.as_deref(), self.pinned) {
            (Some(program::XDP), Some(true)) => Whose::Ours,
            (Some(program::XDP), Some(false)) => Whose::AnotherDtrLb,
            (Some(program::XDP) | None, _) => Whose::Unknown,
            (Some(_), _) => Whose::Foreign,
        }
    }

    /// "`lab_pass`, id 7 (not dtr-lb's)".
    fn called(&self) -> String {
        let Self { id, name, pinned: _ } = self;
        let whose = self.whose().words();
        match name.as_deref() {
            None | Some("") => format!("id {id}{whose}"),
            Some(name) => format!("`{name}`, id {id}{whose}"),
        }
    }
}

impl Whose {
    fn words(self) -> &'static str {
        match self {
            Self::Ours => " (dtr-lb's own)",
            Self::AnotherDtrLb => " (another dtr-lb's)",
            Self::Foreign => " (not dtr-lb's)",
            Self::Unknown => " (whose it is, this process may not ask; root may)",
        }
    }
}

impl Facts {
    pub(super) async fn read(config: &Config, links: &Links) -> Self {
        let seen = links.look(&config.interfaces).await;
        let of_config = seen.as_deref().unwrap_or_default();
        let program = |seen: &Seen| {
            let link = seen.link.as_ref()?;
            let program = Program::read(link.xdp_program?, link.index, &config.agent.bpffs);
            Some((seen.name.clone(), program))
        };
        Self {
            known: interface::names_of_all(),
            programs: of_config.iter().filter_map(program).collect(),
            devices: device::gather(links.handle(), of_config).await,
            seen: seen.map_err(|error| error.to_string()),
        }
    }
}

impl Findings {
    pub(super) fn interfaces(&mut self, config: &Config, facts: &Facts) {
        let Facts { seen, known, programs, devices } = facts;
        let attach = config.datapath.attach;
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => return self.error("interfaces", error),
        };
        for seen in seen {
            let program = programs.iter().find(|(name, _)| *name == seen.name).map(|(_, program)| program);
            self.interface(seen, known, program, attach);
        }
        if let Some(twice) = interface::twice(seen) {
            self.error("interfaces", twice);
        }
        devices.iter().for_each(|device| self.device(device, attach));
        self.fact("datapath.attach", format!("attach = \"{attach}\": {}", plan(attach)));
    }

    fn interface(&mut self, seen: &Seen, known: &[String], program: Option<&Program>, attach: Attach) {
        let name = &seen.name;
        let about = || format!("interface {name}");
        let Some(link) = &seen.link else {
            let missing = InterfaceError::NotFound { name: name.clone(), known: known.to_vec() };
            return self.error(about(), missing);
        };
        if !link.up {
            self.warn(
                about(),
                format!("interface {name} is down or has no carrier; see to its cable, and `ip link set {name} up`"),
            );
        }
        let Some(program) = program else {
            return self.fact(about(), format!("interface {name}: MTU {}, no XDP program", link.mtu));
        };
        let called = program.called();
        self.fact(about(), format!("interface {name}: MTU {}, XDP program {called}", link.mtu));
        match (program.whose(), attach) {
            // The kernel tells when it is attached.
            (Whose::Ours | Whose::Unknown, _) => {}
            (Whose::AnotherDtrLb | Whose::Foreign, Attach::Xdp | Attach::XdpGeneric) => {
                self.error(about(), DatapathError::Busy { interface: name.clone(), holder: called });
            }
            // Where another interface has no native XDP, all get TC, and it is in nobody's way: the kernel tells.
            (Whose::AnotherDtrLb | Whose::Foreign, Attach::Auto) => {
                self.foresee(about(), DatapathError::Busy { interface: name.clone(), holder: called });
            }
            (Whose::AnotherDtrLb | Whose::Foreign, Attach::Tc) => self.warn(
                about(),
                format!(
                    "interface {name} has XDP program {called}: it sees packets before the datapath does; make sure that it \
                     passes those of the services"
                ),
            ),
        }
    }
}

fn plan(attach: Attach) -> &'static str {
    match attach {
        Attach::Auto => "native XDP would be tried first; TC on all interfaces if the driver of one has none",
        Attach::Xdp => {
            "native XDP would be attached; the agent would not start if the driver of one has none"
        }
        Attach::XdpGeneric => "generic XDP would be attached",
        Attach::Tc => "TC would be attached",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::Link;

    fn seen(xdp: Option<u32>, up: bool) -> Seen {
        let link = Link { index: 2, mtu: 1500, up, xdp_program: xdp, carriers: Vec::new() };
        Seen { name: "eth0".into(), link: Some(link) }
    }

    #[test]
    fn an_interface_is_judged_by_the_program_on_it_and_the_hook_that_is_wanted() {
        use Attach::{Auto, Tc, Xdp, XdpGeneric};
        const OWN: Option<&str> = Some(program::XDP);
        let (yes, no, hidden) = (Some(true), Some(false), None);
        let cases = [
            (OWN, yes, Auto, "(dtr-lb's own)", 0, 0),
            (OWN, yes, XdpGeneric, "(dtr-lb's own)", 0, 0),
            (OWN, no, Auto, "(another dtr-lb's)", 0, 1),
            (OWN, hidden, Auto, "(whose it is, this process may not ask; root may)", 0, 0),
            (None, hidden, Xdp, "XDP program id 7 (whose it is, this process may not ask; root may)", 0, 0),
            (Some("firewall"), yes, Auto, "`firewall`, id 7 (not dtr-lb's)", 0, 1),
            (Some("firewall"), hidden, Xdp, "(not dtr-lb's)", 0, 1),
            (Some("firewall"), no, XdpGeneric, "(not dtr-lb's)", 0, 1),
            (Some("firewall"), no, Tc, "(not dtr-lb's)", 1, 0),
            (Some(""), no, Auto, "XDP program id 7 (not dtr-lb's)", 0, 1),
        ];
        for (name, pinned, attach, words, warnings, errors) in cases {
            let program = Program { id: 7, name: name.map(Into::into), pinned };
            let mut found = Findings::default();
            found.interface(&seen(Some(7), true), &[], Some(&program), attach);
            let [fact] = &found.facts[..] else { panic!("{found:?}") };
            assert!(fact.contains("eth0: MTU 1500") && fact.contains(words), "{name:?} {attach}: {fact}");
            // With "auto" it may come to TC, where it is in nobody's way.
            let (refused, left) = match attach {
                Auto => (&found.foreseen, &found.errors),
                Xdp | XdpGeneric | Tc => (&found.errors, &found.foreseen),
            };
            assert_eq!((found.warnings.len(), refused.len()), (warnings, errors), "{attach}: {found:?}");
            let busy = "another XDP program holds interface `eth0`";
            assert!(left.is_empty() && refused.iter().all(|error| error.contains(busy)), "{found:?}");
        }
        for attach in [Auto, Xdp, XdpGeneric, Tc] {
            let mut found = Findings::default();
            found.interface(&seen(None, true), &[], None, attach);
            assert!(found.facts[0].contains("no XDP program") && found.errors.is_empty(), "{found:?}");
        }
    }

    #[test]
    fn what_is_not_there_is_an_error_and_what_is_down_a_warning() {
        let mut found = Findings::default();
        let gone = Seen { name: "eth7".into(), link: None };
        found.interface(&gone, &["lo".into(), "eth0".into()], None, Attach::Auto);
        assert!(
            found.errors[0].contains("no interface `eth7` on this host; there are: lo, eth0;"),
            "{found:?}"
        );
        let mut found = Findings::default();
        found.interface(&seen(None, false), &[], None, Attach::Auto);
        assert!(found.errors.is_empty() && found.warnings[0].contains("eth0 is down"), "{found:?}");
    }
}
