//! A program that passes every packet. veth delivers frames that XDP sends or redirects only to an interface that has an
//! XDP program itself: the lab attaches this one at the far ends of the balancer's cables.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod stub {
    use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};

    #[xdp]
    pub(crate) fn lab_pass(_: XdpContext) -> u32 {
        xdp_action::XDP_PASS
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        #[expect(clippy::empty_loop, reason = "there is nothing else to do in a kernel program")]
        loop {}
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
