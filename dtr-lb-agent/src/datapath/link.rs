//! One link: the kernel's object that holds a program at a hook of an interface, and its pin.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

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
    hook::{Hook, Interface},
    object, pins, requirements,
};

/// For how long a link that was taken away may stand in the way of its successor.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked whether it still does.
const POLL: Duration = Duration::from_millis(1);

/// Puts the new program into the link that is pinned, if there is one and its interface still lives.
pub(super) fn update(
    ebpf: &mut Ebpf,
    hook: Hook,
    interface: &Interface,
    pin: &Path,
) -> Result<bool, DatapathError> {
    if !pin.exists() {
        return Ok(false);
    }
    let label = hook.label();
    let link = PinnedLink::from_pin(pin).map_err(DatapathError::link(&interface.name, label))?;
    let link = FdLink::from(link);
    // The pin holds the link; the handle is given back at once, so that the link ends when its pin is removed.
    let updated = match hook {
        Hook::NativeXdp | Hook::GenericXdp => {
            let link = XdpLink::try_from(link).map_err(DatapathError::link(&interface.name, label))?;
            let program = object::xdp_program(ebpf)?;
            program.attach_to_link(link).and_then(|id| program.take_link(id)).map(drop)
        }
        Hook::Tc => {
            let link =
                SchedClassifierLink::try_from(link).map_err(DatapathError::link(&interface.name, label))?;
            let program = object::tc_program(ebpf, program::TC)?;
            program.attach_to_link(link).and_then(|id| program.take_link(id)).map(drop)
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

/// Pins a link: it outlives this process from here on.
pub(super) fn pin(link: FdLink, interface: &Interface, path: &Path) -> Result<PinnedLink, DatapathError> {
    link.pin(path).map_err(|error| DatapathError::attach(&interface.name, "the pinned link", &error))
}

/// Attaches the program to an interface that has no link at this hook.
///
/// With `made_room`, a link of ours was there a moment ago. Older kernels keep a pin's hold of its link for a grace period
/// after the pin is gone, and end the link in the background: until then, it is in the way.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    hook: Hook,
    interface: &Interface,
    made_room: bool,
) -> Result<FdLink, DatapathError> {
    let patience = Instant::now() + PATIENCE;
    loop {
        let link = match hook {
            Hook::NativeXdp => attach_xdp(object::xdp_program(ebpf)?, XdpMode::Driver, interface, hook),
            Hook::GenericXdp => attach_xdp(object::xdp_program(ebpf)?, XdpMode::Skb, interface, hook),
            Hook::Tc => attach_tc(object::tc_program(ebpf, program::TC)?, interface, &DATAPATH),
        };
        match link {
            Err(DatapathError::Busy { .. }) if made_room && Instant::now() < patience => thread::sleep(POLL),
            link => return link,
        }
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

/// Where a program stands at TC.
pub(super) struct TcPlace {
    /// The program's name.
    pub(super) program: &'static str,
    pub(super) attach_type: TcAttachType,
    /// Its place among others.
    pub(super) order: fn() -> LinkOrder,
}

const DATAPATH: TcPlace =
    TcPlace { program: program::TC, attach_type: TcAttachType::Ingress, order: LinkOrder::default };

/// Attaches a program at TC. Only a link of our own can be in the way there, as the program is ours: one that was dropped, and
/// that a child of this process which has not yet called exec still holds. It is waited for.
pub(super) fn attach_tc(
    program: &mut SchedClassifier,
    interface: &Interface,
    place: &TcPlace,
) -> Result<FdLink, DatapathError> {
    let patience = Instant::now() + PATIENCE;
    loop {
        match attach_tc_at_once(program, interface, place) {
            Err(DatapathError::StillThere { .. }) if Instant::now() < patience => thread::sleep(POLL),
            link => return link,
        }
    }
}

fn attach_tc_at_once(
    program: &mut SchedClassifier,
    interface: &Interface,
    place: &TcPlace,
) -> Result<FdLink, DatapathError> {
    let failed = |error: &(dyn std::error::Error + 'static)| match os_error(error) {
        // `bpf_mprog_attach`: this very program is there already.
        Some(libc::EEXIST) => DatapathError::StillThere { interface: interface.name.clone() },
        Some(libc::EINVAL) => DatapathError::Unsupported {
            feature: requirements::TC_LINKS.0,
            since: requirements::TC_LINKS.1,
            running: requirements::running(),
            remedy: if place.program == program::TC {
                "use an interface with native XDP, or set datapath.attach = \"xdp-generic\""
            } else {
                requirements::WITHOUT_STEERING
            },
        },
        _ => DatapathError::attach(&interface.name, "TC", error),
    };
    let options = TcAttachOptions::TcxOrder((place.order)());
    let id = program
        .attach_with_options(&interface.name, place.attach_type, options)
        .map_err(|error| failed(&error))?;
    let link = program.take_link(id).map_err(|error| failed(&error))?;
    FdLink::try_from(link).map_err(|error| failed(&error))
}

/// The XDP program that stands in the way, as the operator may find it.
fn holder(interface: &Interface) -> String {
    let Some(id) = interface.xdp_program else { return "its name is unknown".into() };
    let name = loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(str::to_owned));
    match name {
        Some(name) => format!("`{name}`, id {id}"),
        None => format!("id {id}"),
    }
}
