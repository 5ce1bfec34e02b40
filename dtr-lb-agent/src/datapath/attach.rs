//! Which hook, and the links that hold the programs there.
//!
//! `auto` takes native XDP if every interface has it, else TC (TCX) on every interface: a frame that XDP redirects must
//! find XDP at the other end, so the two are not mixed. Generic XDP is taken only when asked for.
//!
//! A link that is pinned is given the new program in place (`bpf_link_update`): no packet meets neither the old nor the
//! new one. From TC to XDP and back, the new links come first and the old ones go after them. Only native and generic
//! XDP exclude each other on an interface: there the old link goes first, and TC stands in until the new one is there.
//! On a kernel without TC links, packets pass to the stack meanwhile, for some hundredths of a second; it resets the
//! connections that it sees. Where attaching fails, all interfaces get back what they had.

use std::path::Path;

use aya::{
    Ebpf,
    programs::links::{FdLink, PinnedLink},
};

use super::{
    error::DatapathError,
    hook::{Hook, Interface},
    link, pins,
};

/// What the config asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Auto,
    Exactly(Hook),
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    pub hook: Hook,
    pub interfaces: Vec<Interface>,
    /// Why it is this hook, for the log and for `status`.
    pub why: String,
}

/// Attaches to all of `interfaces` or to none. Returns the links, too, where nothing is pinned: dropping them detaches.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    wanted: Wanted,
    interfaces: &[Interface],
    link_pins: Option<&Path>,
) -> Result<(Attached, Vec<FdLink>), DatapathError> {
    let (hook, why, links) = match wanted {
        Wanted::Exactly(hook) => {
            (hook, "as configured".to_owned(), attach_all(ebpf, hook, interfaces, link_pins)?)
        }
        Wanted::Auto => match attach_all(ebpf, Hook::NativeXdp, interfaces, link_pins) {
            Ok(links) => (Hook::NativeXdp, "every interface has native XDP".to_owned(), links),
            Err(DatapathError::NoNativeXdp { interface, reason }) => {
                let links = attach_all(ebpf, Hook::Tc, interfaces, link_pins)?;
                (Hook::Tc, format!("interface `{interface}` has no native XDP: {reason}"), links)
            }
            Err(error) => return Err(error),
        },
    };
    if let Some(directory) = link_pins {
        remove_others(directory, hook, interfaces)?;
    }
    Ok((Attached { hook, interfaces: interfaces.to_vec(), why }, links))
}

/// Gives every interface the program at `hook`, or leaves all as they were. Returns the new links if none is pinned.
fn attach_all(
    ebpf: &mut Ebpf,
    hook: Hook,
    interfaces: &[Interface],
    link_pins: Option<&Path>,
) -> Result<Vec<FdLink>, DatapathError> {
    let mut change = Change::default();
    let Some(directory) = link_pins else {
        change.attach(ebpf, hook, interfaces, None)?;
        return Ok(change.fresh.into_iter().map(|(_, link)| link).collect());
    };
    let done = change.attach(ebpf, hook, interfaces, Some(directory));
    match done.and_then(|()| change.pin(hook, directory)) {
        Ok(()) => Ok(Vec::new()),
        Err(error) => Err(change.undo(ebpf, directory, error)),
    }
}

/// What was done so far, to be undone if the rest fails.
#[derive(Default)]
struct Change {
    /// New links, to be pinned when all interfaces have theirs.
    fresh: Vec<(Interface, FdLink)>,
    pinned: Vec<PinnedLink>,
    /// Interfaces that had to give up a link at this hook.
    given_up: Vec<(Interface, Hook)>,
    /// Links by TC that do the work of those that were given up until others are there.
    stand_ins: Vec<FdLink>,
}

impl Change {
    fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        hook: Hook,
        interfaces: &[Interface],
        link_pins: Option<&Path>,
    ) -> Result<(), DatapathError> {
        for interface in interfaces {
            let pin = |hook| link_pins.map(|directory| directory.join(pin_name(hook, interface.index)));
            if let Some(pin) = pin(hook)
                && link::update(ebpf, hook, interface, &pin)?
            {
                continue;
            }
            let mut made_room = false;
            if let Some(other) = hook.excludes()
                && let Some(pin) = pin(other)
                && link::update(ebpf, other, interface, &pin)?
            {
                // Without one there is a gap, which is no reason to refuse.
                self.stand_ins.extend(link::attach(ebpf, Hook::Tc, interface, false));
                pins::end_link(&pin)?;
                self.given_up.push((interface.clone(), other));
                made_room = true;
            }
            let link = link::attach(ebpf, hook, interface, made_room)?;
            self.fresh.push((interface.clone(), link));
        }
        Ok(())
    }

    fn pin(&mut self, hook: Hook, directory: &Path) -> Result<(), DatapathError> {
        for (interface, link) in self.fresh.drain(..) {
            self.pinned.push(link::pin(link, &interface, &directory.join(pin_name(hook, interface.index)))?);
        }
        Ok(())
    }

    /// Takes back what was done and returns why.
    fn undo(self, ebpf: &mut Ebpf, directory: &Path, cause: DatapathError) -> DatapathError {
        let Self { fresh, pinned, given_up, stand_ins: _stand_ins } = self;
        drop(fresh);
        for link in pinned {
            // A pin that stays shows up below, where its link is in the way.
            drop(link.unpin());
        }
        for (interface, hook) in given_up {
            let back = link::attach(ebpf, hook, &interface, true).and_then(|link| {
                link::pin(link, &interface, &directory.join(pin_name(hook, interface.index)))
            });
            if let Err(reason) = back {
                let (cause, reason) = (Box::new(cause), Box::new(reason));
                return DatapathError::NotPutBack { cause, interface: interface.name, reason };
            }
        }
        cause
    }
}

/// Puts the programs of `ebpf` into the pinned links of all interfaces that still have one.
pub(super) fn put_in(ebpf: &mut Ebpf, attached: &Attached, link_pins: &Path) -> Result<(), DatapathError> {
    for interface in &attached.interfaces {
        link::update(
            ebpf,
            attached.hook,
            interface,
            &link_pins.join(pin_name(attached.hook, interface.index)),
        )?;
    }
    Ok(())
}

/// The name of the pin of a link, for the interface of this index.
pub(super) fn pin_name(hook: Hook, interface: u32) -> String {
    // By index: a name may have a dot, which a BPF file system does not take.
    format!("{}-{interface}", hook.pin_prefix())
}

/// Removes the pins of links that are no longer wanted; with its pin a link ends.
fn remove_others(directory: &Path, hook: Hook, interfaces: &[Interface]) -> Result<(), DatapathError> {
    let wanted: Vec<_> = interfaces.iter().map(|interface| pin_name(hook, interface.index)).collect();
    for entry in pins::entries(directory)? {
        if !wanted.iter().any(|name| entry.file_name() == name.as_str()) {
            pins::end_link(&entry.path())?;
        }
    }
    Ok(())
}
