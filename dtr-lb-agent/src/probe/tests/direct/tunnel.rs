//! Takes packets out of others, as the replica's tunnel device does where the kernel has one: frames that come in by
//! `far0` are read, and what travels in them is put onto `lo`, where the stack takes it.

use std::{
    io, mem,
    net::IpAddr,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::{
    net::if_::if_nametoindex,
    sys::{
        socket::{setsockopt, sockopt::ReceiveTimeout},
        time::{TimeVal, TimeValLike as _},
    },
    unistd::read,
};

use super::Far;

const ETHERNET: usize = 14;
const KINDS: [(usize, [u8; 2]); 2] = [(4, [0x08, 0x00]), (6, [0x86, 0xdd])];

/// Works until it is stopped.
pub(super) struct Decapsulator {
    end: Arc<AtomicBool>,
    task: JoinHandle<Vec<(IpAddr, IpAddr)>>,
}

impl Decapsulator {
    pub(super) fn start(far: &Far) -> Self {
        let (reader, writer) = far.there(|| (open("far0"), open("lo")));
        let pause = TimeVal::milliseconds(20);
        setsockopt(&reader, ReceiveTimeout, &pause).expect("a limit on reading");
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let task = thread::spawn(move || {
            let mut outer = Vec::new();
            let mut frame = [0; 2048];
            while !ended.load(Ordering::Relaxed) {
                let Ok(length) = read(&reader, &mut frame) else { continue };
                let Some((ends, inner)) = inside(&frame[..length]) else { continue };
                outer.push(ends);
                nix::unistd::write(&writer, &inner).expect("lo takes it");
            }
            outer
        });
        Self { end, task }
    }

    /// Source and destination of the packets in which others travelled.
    pub(super) fn stop(self) -> Vec<(IpAddr, IpAddr)> {
        // What is still in the queue is taken first.
        thread::sleep(Duration::from_millis(20));
        self.end.store(true, Ordering::Relaxed);
        self.task.join().expect("it ends")
    }
}

/// A socket of frames, of an interface of this thread's namespace.
fn open(interface: &str) -> OwnedFd {
    let protocol = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: the call takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol.into()) };
    assert!(fd >= 0, "a packet socket: {}", io::Error::last_os_error());
    // SAFETY: the kernel has just given it to us, and nobody else has it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all zeros is a value of this plain structure.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol;
    address.sll_ifindex = if_nametoindex(interface).expect("the interface") as i32;
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address lives through the call and has this length.
    let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
    assert_eq!(bound, 0, "bind to {interface}: {}", io::Error::last_os_error());
    fd
}

/// Source and destination of a packet with another in it, and a frame with that other one.
fn inside(frame: &[u8]) -> Option<((IpAddr, IpAddr), Vec<u8>)> {
    let packet = frame.get(ETHERNET..)?;
    let version = usize::from(*packet.first()? >> 4);
    let address = |at: usize, length: usize| -> Option<IpAddr> {
        let octets = packet.get(at..at + length)?;
        Some(match length {
            4 => IpAddr::from(<[u8; 4]>::try_from(octets).ok()?),
            _ => IpAddr::from(<[u8; 16]>::try_from(octets).ok()?),
        })
    };
    let (protocol, ends, inner) = match (version, &frame[12..ETHERNET]) {
        (4, [0x08, 0x00]) => (packet[9], (address(12, 4)?, address(16, 4)?), packet.get(20..)?),
        (6, [0x86, 0xdd]) => (packet[6], (address(8, 16)?, address(24, 16)?), packet.get(40..)?),
        _ => return None,
    };
    // IPv4 in IP (RFC 2003), IPv6 in IP (RFC 2473).
    let expected = match protocol {
        4 => 4,
        41 => 6,
        _ => return None,
    };
    let (_, kind) = KINDS.into_iter().find(|(version, _)| *version == expected)?;
    assert_eq!(usize::from(inner.first()? >> 4), expected, "the inner packet is what the outer says");
    Some((ends, [&[0; 12][..], &kind, inner].concat()))
}
