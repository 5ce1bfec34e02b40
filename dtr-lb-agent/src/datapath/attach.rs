//! Which hook, and the links that hold the programs there.
//!
//! `auto` takes native XDP if every interface has it, else TC (TCX) on every interface: a frame that XDP redirects must
//! find XDP at the other end, so the two are not mixed. Generic XDP is taken only when asked for.
//!
//! A link that is pinned is given the new program in place (`bpf_link_update`): no packet meets neither the old nor the
//! new one. New links are pinned when all interfaces have theirs, so that a failure leaves things as they were.

use std::{fs, path::Path};

use aya::{
    Ebpf,
    programs::{
        LinkOrder, SchedClassifier, TcAttachType, Xdp, XdpMode,
        links::{FdLink, PinnedLink},
        loaded_programs,
        tc::{SchedClassifierLink, TcAttachOptions},
        xdp::XdpLink,
    },
};
use dtr_lb_common::abi::program;

use super::{
    error::{DatapathError, os_error},
    object, pins,
};

/// A network interface, as far as attaching needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub index: u32,
    /// Id of the XDP program that is attached to it, if one is.
    pub xdp_program: Option<u32>,
}

/// Where the datapath looks at packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// XDP in the driver.
    NativeXdp,
    /// XDP in the stack, before anything else of it.
    GenericXdp,
    /// TC ingress, by TCX.
    Tc,
}

impl Hook {
    /// The name in outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NativeXdp | Self::GenericXdp => "xdp",
            Self::Tc => "tc",
        }
    }

    pub const fn native(self) -> bool {
        matches!(self, Self::NativeXdp)
    }

    /// The name in messages.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NativeXdp => "native XDP",
            Self::GenericXdp => "generic XDP",
            Self::Tc => "TC",
        }
    }

    const fn pin_prefix(self) -> &'static str {
        match self {
            Self::NativeXdp => "xdp",
            Self::GenericXdp => "xdpgeneric",
            Self::Tc => "tc",
        }
    }
}

/// What the config asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Auto,
    Exactly(Hook),
}

/// What was done.
#[derive(Debug)]
pub struct Attached {
    pub hook: Hook,
    pub interfaces: Vec<Interface>,
    /// Why it is this hook, for the log and for `status`.
    pub why: String,
    /// The links where nothing is pinned. Dropping them detaches.
    links: Vec<FdLink>,
}

/// Attaches to all of `interfaces` or to none.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    wanted: Wanted,
    interfaces: &[Interface],
    link_pins: Option<&Path>,
) -> Result<Attached, DatapathError> {
    let (hook, why, fresh) = match wanted {
        Wanted::Exactly(hook) => {
            (hook, "as configured".to_owned(), attach_all(ebpf, hook, interfaces, link_pins)?)
        }
        Wanted::Auto => match attach_all(ebpf, Hook::NativeXdp, interfaces, link_pins) {
            Ok(fresh) => (Hook::NativeXdp, "every interface has native XDP".to_owned(), fresh),
            Err(DatapathError::NoNativeXdp { interface, reason }) => {
                let fresh = attach_all(ebpf, Hook::Tc, interfaces, link_pins)?;
                (Hook::Tc, format!("interface `{interface}` has no native XDP: {reason}"), fresh)
            }
            Err(error) => return Err(error),
        },
    };
    let mut links = Vec::new();
    match link_pins {
        Some(directory) => {
            for (interface, link) in fresh {
                let path = directory.join(pin_name(hook, &interface));
                link.pin(&path)
                    .map_err(|error| DatapathError::attach(&interface.name, "the pinned link", &error))?;
            }
            remove_others(directory, hook, interfaces)?;
        }
        None => links.extend(fresh.into_iter().map(|(_, link)| link)),
    }
    Ok(Attached { hook, interfaces: interfaces.to_vec(), why, links })
}

impl Attached {
    /// Whether the links last only as long as this process.
    pub fn is_temporary(&self) -> bool {
        !self.links.is_empty()
    }
}

fn pin_name(hook: Hook, interface: &Interface) -> String {
    // By index: a name may have a dot, which a BPF file system does not take.
    format!("{}-{}", hook.pin_prefix(), interface.index)
}

/// Gives every interface the program; returns the links that are new.
fn attach_all(
    ebpf: &mut Ebpf,
    hook: Hook,
    interfaces: &[Interface],
    link_pins: Option<&Path>,
) -> Result<Vec<(Interface, FdLink)>, DatapathError> {
    let mut fresh = Vec::new();
    for interface in interfaces {
        if let Some(directory) = link_pins
            && update(ebpf, hook, interface, &directory.join(pin_name(hook, interface)))?
        {
            continue;
        }
        let link = match hook {
            Hook::NativeXdp => attach_xdp(object::xdp_program(ebpf)?, XdpMode::Driver, interface, hook)?,
            Hook::GenericXdp => attach_xdp(object::xdp_program(ebpf)?, XdpMode::Skb, interface, hook)?,
            Hook::Tc => attach_tc(object::tc_program(ebpf, program::TC)?, interface)?,
        };
        fresh.push((interface.clone(), link));
    }
    Ok(fresh)
}

/// Puts the new program into the link that is pinned, if there is one and its interface still lives.
fn update(ebpf: &mut Ebpf, hook: Hook, interface: &Interface, pin: &Path) -> Result<bool, DatapathError> {
    if !pin.exists() {
        return Ok(false);
    }
    let label = hook.label();
    let link = PinnedLink::from_pin(pin).map_err(DatapathError::link(&interface.name, label))?;
    let link = FdLink::from(link);
    let updated = match hook {
        Hook::NativeXdp | Hook::GenericXdp => {
            let link = XdpLink::try_from(link).map_err(DatapathError::link(&interface.name, label))?;
            object::xdp_program(ebpf)?.attach_to_link(link).map(drop)
        }
        Hook::Tc => {
            let link =
                SchedClassifierLink::try_from(link).map_err(DatapathError::link(&interface.name, label))?;
            object::tc_program(ebpf, program::TC)?.attach_to_link(link).map(drop)
        }
    };
    match updated {
        Ok(()) => Ok(true),
        // The interface is gone, and one of the same index has come: the link is an empty shell.
        Err(error) if os_error(&error) == Some(libc::ENOLINK) => {
            pins::remove_file(pin)?;
            Ok(false)
        }
        Err(error) => Err(DatapathError::attach(&interface.name, label, &error)),
    }
}

fn attach_xdp(
    program: &mut Xdp,
    mode: XdpMode,
    interface: &Interface,
    hook: Hook,
) -> Result<FdLink, DatapathError> {
    let no_native = |reason: String| match hook {
        Hook::NativeXdp => DatapathError::NoNativeXdp { interface: interface.name.clone(), reason },
        _ => DatapathError::Attach { interface: interface.name.clone(), hook: hook.label(), reason },
    };
    let attached = program.attach_to_if_index(interface.index, mode);
    let id = attached.map_err(|error| match os_error(&error) {
        Some(libc::EBUSY | libc::EEXIST) => {
            DatapathError::Busy { interface: interface.name.clone(), holder: holder(interface) }
        }
        Some(libc::EPERM) | None => DatapathError::attach(&interface.name, hook.label(), &error),
        Some(code) => no_native(std::io::Error::from_raw_os_error(code).to_string()),
    })?;
    let link = program
        .take_link(id)
        .map_err(|error| DatapathError::attach(&interface.name, hook.label(), &error))?;
    // Where the driver takes no BPF link, aya falls back to a netlink attachment, which could neither be pinned nor
    // replaced atomically. Dropping it here detaches it.
    FdLink::try_from(link).map_err(|_| no_native("its driver takes no BPF link".into()))
}

fn attach_tc(program: &mut SchedClassifier, interface: &Interface) -> Result<FdLink, DatapathError> {
    let failed = |error: &(dyn std::error::Error + 'static)| match os_error(error) {
        Some(libc::EINVAL) => DatapathError::Unsupported {
            feature: "TC links (TCX)",
            since: "6.6",
            running: super::requirements::running(),
            remedy: "use an interface with native XDP, or set datapath.attach = \"xdp-generic\"",
        },
        _ => DatapathError::attach(&interface.name, "TC", error),
    };
    let options = TcAttachOptions::TcxOrder(LinkOrder::default());
    let id = program
        .attach_with_options(&interface.name, TcAttachType::Ingress, options)
        .map_err(|error| failed(&error))?;
    let link = program.take_link(id).map_err(|error| failed(&error))?;
    FdLink::try_from(link).map_err(|error| failed(&error))
}

/// The XDP program that stands in the way, as the operator may find it.
fn holder(interface: &Interface) -> String {
    let Some(id) = interface.xdp_program else { return "its name is not known".into() };
    let name = loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(str::to_owned));
    match name {
        Some(name) => format!("`{name}`, program id {id}"),
        None => format!("program id {id}"),
    }
}

/// Removes the pins of links that are no longer wanted; with its pin a link ends.
fn remove_others(directory: &Path, hook: Hook, interfaces: &[Interface]) -> Result<(), DatapathError> {
    let wanted: Vec<_> = interfaces.iter().map(|interface| pin_name(hook, interface)).collect();
    let reading = |source| DatapathError::Pin { path: directory.into(), operation: "reading", source };
    for entry in fs::read_dir(directory).map_err(reading)? {
        let entry = entry.map_err(reading)?;
        if !wanted.iter().any(|name| entry.file_name() == name.as_str()) {
            pins::remove_file(&entry.path())?;
        }
    }
    Ok(())
}
