//! The lab's own programs.
//!
//! `lab_pass` passes every packet. veth delivers frames that XDP sends or redirects only to an interface that has an
//! XDP program itself: the lab attaches this one at the far ends of the balancer's cables.
//!
//! `lab_decap` takes the outer IP header off IP-in-IP packets, on a replica's interface. It stands in for the tunnel
//! device that a real replica has (`ipip`, `ip6tnl`, `sit`), since the kernels that labs run on may be built without.
//! It counts packets by outer source. Outer headers have no options: dtr-lb makes none.
//!
//! `lab_tag` and `lab_untag` put VLAN tags on what a host sends, and take them off what it receives: they stand in for its VLAN
//! interface, for the same reason. `lab_echo` sends every packet back by the interface that it came by, behind the datapath: what
//! comes back is what the host would have got.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod stub {
    use aya_ebpf::{
        Global,
        bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
        helpers::{bpf_redirect, bpf_skb_vlan_pop, bpf_skb_vlan_push, bpf_xdp_adjust_head},
        macros::{classifier, map, xdp},
        maps::LruHashMap,
        programs::{TcContext, XdpContext},
    };

    /// Packets by outer source; an IPv4 one is mapped into IPv6.
    #[map]
    static OUTER_SOURCES: LruHashMap<[u8; 16], u64> = LruHashMap::with_max_entries(65536, 0);

    #[xdp(frags)]
    pub(crate) fn lab_pass(_: XdpContext) -> u32 {
        xdp_action::XDP_PASS
    }

    #[xdp(frags)]
    pub(crate) fn lab_decap(ctx: XdpContext) -> u32 {
        // Passed as it came if it is none: it is the host's. It cannot end half-done, as what is written is within what
        // was read.
        let _: Option<()> = decapsulate(&ctx);
        xdp_action::XDP_PASS
    }

    /// The tags of `lab_tag`, as a frame has them, read as numbers in network order: EtherType, priority and id. 0 is none.
    #[unsafe(no_mangle)]
    static LAB_OUTER_TAG: Global<u32> = Global::new(0);
    #[unsafe(no_mangle)]
    static LAB_INNER_TAG: Global<u32> = Global::new(0);

    #[classifier]
    pub(crate) fn lab_tag(ctx: TcContext) -> i32 {
        for tag in [LAB_INNER_TAG.load(), LAB_OUTER_TAG.load()] {
            // SAFETY: the skb is the program's own, and no pointer into the frame is held.
            if tag != 0
                && unsafe { bpf_skb_vlan_push(ctx.skb.skb, ((tag >> 16) as u16).to_be(), tag as u16) } != 0
            {
                return TC_ACT_SHOT;
            }
        }
        TC_ACT_UNSPEC
    }

    #[classifier]
    pub(crate) fn lab_untag(ctx: TcContext) -> i32 {
        // What is not in the VLAN is not the host's.
        // SAFETY: the kernel hands every TC program a valid skb.
        let (tag, kind) = unsafe { ((*ctx.skb.skb).vlan_tci, (*ctx.skb.skb).vlan_proto) };
        let outer = LAB_OUTER_TAG.load();
        if tag & 0xfff != outer & 0xfff || (kind as u16).to_be() != (outer >> 16) as u16 {
            return TC_ACT_SHOT;
        }
        for tag in [outer, LAB_INNER_TAG.load()] {
            // SAFETY: as in `lab_tag`.
            if tag != 0 && unsafe { bpf_skb_vlan_pop(ctx.skb.skb) } != 0 {
                return TC_ACT_SHOT;
            }
        }
        TC_ACT_UNSPEC
    }

    #[classifier]
    pub(crate) fn lab_echo(ctx: TcContext) -> i32 {
        // SAFETY: the kernel hands every TC program a valid skb; the helper takes numbers only.
        unsafe { bpf_redirect((*ctx.skb.skb).ifindex, 0) as i32 }
    }

    const MACS: usize = 12;
    const ETHERNET: usize = 14;
    const TYPE_V4: [u8; 2] = [0x08, 0x00];
    const TYPE_V6: [u8; 2] = [0x86, 0xdd];
    const V4_IN: u8 = 4;
    const V6_IN: u8 = 41;

    /// `None` if it is no IP-in-IP packet.
    #[inline(always)]
    fn decapsulate(ctx: &XdpContext) -> Option<()> {
        let macs: [u8; MACS] = read(ctx, 0)?;
        let (next, source, outer) = match read(ctx, MACS)? {
            TYPE_V4 => {
                let [version_and_length]: [u8; 1] = read(ctx, ETHERNET)?;
                if version_and_length != 0x45 {
                    return None;
                }
                let [next]: [u8; 1] = read(ctx, ETHERNET + 9)?;
                let [a, b, c, d]: [u8; 4] = read(ctx, ETHERNET + 12)?;
                (next, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d], 20)
            }
            TYPE_V6 => {
                let [next]: [u8; 1] = read(ctx, ETHERNET + 6)?;
                (next, read(ctx, ETHERNET + 8)?, 40)
            }
            _ => return None,
        };
        let inner = match next {
            V4_IN => TYPE_V4,
            V6_IN => TYPE_V6,
            _ => return None,
        };
        // SAFETY: the context is the program's own. The helper invalidates pointers into the frame, and none is held.
        if unsafe { bpf_xdp_adjust_head(ctx.ctx, outer) } != 0 {
            return None;
        }
        write(ctx, 0, macs)?;
        write(ctx, MACS, inner)?;
        count(&source);
        Some(())
    }

    #[inline(always)]
    fn count(source: &[u8; 16]) {
        if let Some(count) = OUTER_SOURCES.get_ptr_mut(source) {
            // SAFETY: the kernel keeps the value's memory until the program has ended. Two CPUs may count at once: the
            // lab needs to know which sources there are, and a lost count does not hide one.
            unsafe { *count += 1 };
        } else {
            // Full it cannot be: it evicts.
            let _ = OUTER_SOURCES.insert(source, &1, 0);
        }
    }

    #[inline(always)]
    fn read<const N: usize>(ctx: &XdpContext, offset: usize) -> Option<[u8; N]> {
        let place = within::<N>(ctx, offset)?;
        // SAFETY: all of it is in the frame, and bytes have no alignment.
        Some(unsafe { *(place as *const [u8; N]) })
    }

    #[inline(always)]
    fn write<const N: usize>(ctx: &XdpContext, offset: usize, bytes: [u8; N]) -> Option<()> {
        let place = within::<N>(ctx, offset)?;
        // SAFETY: all of it is in the frame, bytes have no alignment, and nothing else holds a reference.
        unsafe { *(place as *mut [u8; N]) = bytes };
        Some(())
    }

    #[inline(always)]
    fn within<const N: usize>(ctx: &XdpContext, offset: usize) -> Option<usize> {
        let place = ctx.data() + offset;
        (place + N <= ctx.data_end()).then_some(place)
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        #[expect(clippy::empty_loop, reason = "there is nothing else to do in a kernel program")]
        loop {}
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
