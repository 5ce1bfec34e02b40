//! The places where the kernel lets programs look at packets, and the interfaces that have them.

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

    /// The other kind of XDP: an interface has one at a time.
    pub(super) const fn excludes(self) -> Option<Self> {
        match self {
            Self::NativeXdp => Some(Self::GenericXdp),
            Self::GenericXdp => Some(Self::NativeXdp),
            Self::Tc => None,
        }
    }

    /// What the names of its pins begin with.
    pub(super) const fn pin_prefix(self) -> &'static str {
        match self {
            Self::NativeXdp => "xdp",
            Self::GenericXdp => "xdpgeneric",
            Self::Tc => "tc",
        }
    }
}
