//! Which of the config's interfaces the datapath is on. Pure: looks at the kernel in, news out.
//!
//! An interface that is removed takes the program on it along. One of the same name that comes later is another one, and
//! is without the program until it is attached again.

use std::collections::BTreeMap;

use crate::{
    datapath::{Hook, Interface},
    interface::Seen,
};

/// Where an interface stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InterfaceState {
    /// It is there, and the datapath is on it.
    Served,
    /// It is there, and the datapath is not on it.
    Bare,
    /// It is not there.
    Gone,
}

/// What is known of each, by name. What has not been looked at is as the agent's start left it: served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Presence {
    states: BTreeMap<String, InterfaceState>,
    attach_failed: bool,
}

/// What a look found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Those that have changed.
    pub(super) changes: Vec<(String, InterfaceState)>,
    /// All that are there, if one of them is without the datapath.
    pub(super) to_attach: Option<Vec<Interface>>,
}

impl Presence {
    /// Takes in a look. `attached`: by which hook the datapath is on which interfaces.
    pub(super) fn take(&mut self, seen: &[Seen], attached: Option<(Hook, &[Interface])>) -> Found {
        let mut changes = Vec::new();
        for seen in seen {
            let now = state(seen, attached);
            let before = self.states.insert(seen.name.clone(), now).unwrap_or(InterfaceState::Served);
            if now != before {
                changes.push((seen.name.clone(), now));
            }
        }
        let bare = self.states.values().any(|state| *state == InterfaceState::Bare);
        let to_attach = bare.then(|| seen.iter().filter_map(Seen::interface).collect());
        Found { changes, to_attach }
    }

    /// Takes in how attaching to [`Found::to_attach`] went. Says whether that is news: the first failure, or a success.
    pub(super) fn attached(&mut self, ok: bool) -> bool {
        if ok {
            let bare = self.states.values_mut().filter(|state| **state == InterfaceState::Bare);
            bare.for_each(|state| *state = InterfaceState::Served);
        }
        let news = ok || !self.attach_failed;
        self.attach_failed = !ok;
        news
    }

    /// The datapath was attached to these, and to no other.
    pub(super) fn keep(&mut self, names: &[String]) {
        self.states.retain(|name, _| names.contains(name));
        self.attached(true);
    }

    /// Whether the interface is there with the datapath on it.
    pub(super) fn serves(&self, name: &str) -> bool {
        self.states.get(name).is_none_or(|state| *state == InterfaceState::Served)
    }
}

fn state(seen: &Seen, attached: Option<(Hook, &[Interface])>) -> InterfaceState {
    let Some(link) = &seen.link else { return InterfaceState::Gone };
    let served = attached.is_some_and(|(hook, interfaces)| {
        let ours = interfaces.iter().any(|other| other.name == seen.name && other.index == link.index);
        // An index may come again, and what XDP program is there the kernel tells; of TC it does not.
        let has_program = match hook {
            Hook::NativeXdp | Hook::GenericXdp => link.xdp_program.is_some(),
            Hook::Tc => true,
        };
        ours && has_program
    });
    if served { InterfaceState::Served } else { InterfaceState::Bare }
}

#[cfg(test)]
mod tests;
