//! The control word of an entry: whether it is locked, its state, its direction, how wide it is, FINs that are not acknowledged yet,
//! whether its end was told, and its version, which tells one connection of an entry from the next.

use core::fmt;

/// Which way the packets of an entry go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    ToReplica = 0,
    ToClient = 1,
    /// Towards the replica, which answers the client directly: there is no entry for the other direction.
    Direct = 2,
}

impl Direction {
    /// Whether its packets are the client's.
    #[inline(always)]
    pub const fn from_client(self) -> bool {
        !matches!(self, Self::ToClient)
    }
}

/// Where a connection is in its life.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
pub struct State(pub u8);

impl State {
    /// Nothing stands there.
    pub const FREE: Self = Self(0);
    /// The client's SYN was sent to the replica.
    pub const SYN_SENT: Self = Self(1);
    /// The replica's SYN-ACK was sent to the client.
    pub const SYN_RECEIVED: Self = Self(2);
    pub const ESTABLISHED: Self = Self(3);
    /// The client has closed its direction, and the replica has acknowledged that.
    pub const CLIENT_CLOSED: Self = Self(4);
    /// The replica has closed its direction, and the client has acknowledged that.
    pub const REPLICA_CLOSED: Self = Self(5);
    /// Both have closed, the replica first: its socket is in TIME_WAIT.
    pub const TIME_WAIT: Self = Self(6);
    /// Both have closed, the client first: no socket is left at the replica.
    pub const CLOSED: Self = Self(7);
    /// Its client has opened another connection with the same tuple. The replica's entry keeps the NAT port from others while
    /// the replica's socket is in TIME_WAIT.
    pub const TIME_WAIT_HELD: Self = Self(8);
    /// A reset with the right number came from the client, and nothing of the client's after it.
    pub const CLIENT_RESET: Self = Self(9);
    /// A reset with the right number came from the replica, and nothing of the replica's after it.
    pub const REPLICA_RESET: Self = Self(10);
    /// The second half of a wide entry.
    pub const CONTINUED: Self = Self(15);

    /// All that a connection can be in.
    pub const ALL: [Self; 10] = [
        Self::SYN_SENT,
        Self::SYN_RECEIVED,
        Self::ESTABLISHED,
        Self::CLIENT_CLOSED,
        Self::REPLICA_CLOSED,
        Self::TIME_WAIT,
        Self::CLOSED,
        Self::TIME_WAIT_HELD,
        Self::CLIENT_RESET,
        Self::REPLICA_RESET,
    ];

    /// Nothing is to be sent any more: both directions were closed in order, or one was reset.
    #[inline(always)]
    pub const fn ended(self) -> bool {
        self.0 >= Self::TIME_WAIT.0 && self.0 <= Self::REPLICA_RESET.0
    }

    #[inline(always)]
    pub const fn handshake(self) -> bool {
        self.0 == Self::SYN_SENT.0 || self.0 == Self::SYN_RECEIVED.0
    }

    /// Data may be sent.
    #[inline(always)]
    pub const fn live(self) -> bool {
        self.0 >= Self::ESTABLISHED.0 && self.0 <= Self::REPLICA_CLOSED.0
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::FREE => "free",
            Self::SYN_SENT => "syn_sent",
            Self::SYN_RECEIVED => "syn_received",
            Self::ESTABLISHED => "established",
            Self::CLIENT_CLOSED => "client_closed",
            Self::REPLICA_CLOSED => "replica_closed",
            Self::TIME_WAIT => "time_wait",
            Self::CLOSED => "closed",
            Self::TIME_WAIT_HELD => "time_wait_held",
            Self::CLIENT_RESET => "client_reset",
            Self::REPLICA_RESET => "replica_reset",
            Self(_) => "unknown",
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The control word. 0 is a free entry that was never used.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Control(pub u32);

impl Control {
    const LOCKED: u32 = 1;
    const STATE_SHIFT: u32 = 1;
    const STATE: u32 = 0xf << Self::STATE_SHIFT;
    const DIRECTION_SHIFT: u32 = 5;
    const DIRECTION: u32 = 3 << Self::DIRECTION_SHIFT;
    const WIDE: u32 = 1 << 7;
    /// A FIN of the client that the replica has not acknowledged yet, and of the replica.
    const CLIENT_FIN: u32 = 1 << 8;
    const REPLICA_FIN: u32 = 1 << 9;
    /// In the client's entry: the connection's end is counted, and was told to whoever wanted to know.
    const TOLD: u32 = 1 << 10;
    const VERSION_SHIFT: u32 = 11;
    /// What a packet of the fast path looks at.
    pub const STEADY_MASK: u32 =
        Self::LOCKED | Self::STATE | Self::WIDE | Self::CLIENT_FIN | Self::REPLICA_FIN;
    /// What it finds there if nothing about the connection changes: an entry of IPv4 alone, and a wide one.
    pub const STEADY: u32 = (State::ESTABLISHED.0 as u32) << Self::STATE_SHIFT;
    pub const STEADY_WIDE: u32 = Self::STEADY | Self::WIDE;

    #[inline(always)]
    pub const fn new(state: State, direction: Direction, wide: bool) -> Self {
        let wide = if wide { Self::WIDE } else { 0 };
        Self((state.0 as u32) << Self::STATE_SHIFT | (direction as u32) << Self::DIRECTION_SHIFT | wide)
    }

    #[inline(always)]
    pub const fn locked(self) -> bool {
        self.0 & Self::LOCKED != 0
    }

    #[inline(always)]
    pub const fn state(self) -> State {
        State(((self.0 & Self::STATE) >> Self::STATE_SHIFT) as u8)
    }

    #[inline(always)]
    pub const fn direction(self) -> Direction {
        match (self.0 & Self::DIRECTION) >> Self::DIRECTION_SHIFT {
            0 => Direction::ToReplica,
            1 => Direction::ToClient,
            _ => Direction::Direct,
        }
    }

    #[inline(always)]
    pub const fn wide(self) -> bool {
        self.0 & Self::WIDE != 0
    }

    #[inline(always)]
    pub const fn version(self) -> u32 {
        self.0 >> Self::VERSION_SHIFT
    }

    /// Whether another look at the word, later, finds the same connection, and that nobody has rewritten the entry between
    /// both: its state may be another one.
    #[inline(always)]
    pub const fn stays(self, later: Self) -> bool {
        (self.0 ^ later.0) & (u32::MAX << Self::VERSION_SHIFT | Self::LOCKED) == 0
    }

    /// Whether the connection's end is counted.
    #[inline(always)]
    pub const fn told(self) -> bool {
        self.0 & Self::TOLD != 0
    }

    #[must_use]
    #[inline(always)]
    pub const fn with_told(self, told: bool) -> Self {
        Self(self.0 & !Self::TOLD | if told { Self::TOLD } else { 0 })
    }

    /// Whether nothing stands there, and nobody is about to change that.
    #[inline(always)]
    pub const fn is_free(self) -> bool {
        self.0 & (Self::LOCKED | Self::STATE) == 0
    }

    /// Whether a FIN of this side waits for its acknowledgment.
    #[inline(always)]
    pub const fn fin(self, from_client: bool) -> bool {
        self.0 & Self::fin_bit(from_client) != 0
    }

    /// Whether a packet of the connection that is neither SYN nor FIN nor RST changes nothing about it.
    #[inline(always)]
    pub const fn steady(self) -> bool {
        self.0 & Self::STEADY_MASK & !Self::WIDE == Self::STEADY
    }

    #[inline(always)]
    const fn fin_bit(from_client: bool) -> u32 {
        if from_client { Self::CLIENT_FIN } else { Self::REPLICA_FIN }
    }

    #[must_use]
    #[inline(always)]
    pub const fn with_state(self, state: State) -> Self {
        Self(self.0 & !Self::STATE | (state.0 as u32) << Self::STATE_SHIFT)
    }

    #[must_use]
    #[inline(always)]
    pub const fn with_fin(self, from_client: bool, waits: bool) -> Self {
        let bit = Self::fin_bit(from_client);
        Self(if waits { self.0 | bit } else { self.0 & !bit })
    }

    /// The same state, of the other direction's entry.
    #[must_use]
    #[inline(always)]
    pub const fn towards_client(self) -> Self {
        Self(self.0 & !Self::DIRECTION | (Direction::ToClient as u32) << Self::DIRECTION_SHIFT)
    }

    /// Taken by who will write the entry.
    #[must_use]
    #[inline(always)]
    pub const fn taken(self) -> Self {
        Self(self.0.wrapping_add(1 << Self::VERSION_SHIFT) | Self::LOCKED)
    }

    /// Free, as a new version.
    #[must_use]
    #[inline(always)]
    pub const fn freed(self) -> Self {
        let version = self.version().wrapping_add(1);
        Self(version << Self::VERSION_SHIFT)
    }

    /// What is new, in the version of this word, with its lock.
    #[must_use]
    #[inline(always)]
    pub const fn become_(self, new: Self) -> Self {
        let keep =
            !(Self::STATE | Self::DIRECTION | Self::WIDE | Self::CLIENT_FIN | Self::REPLICA_FIN | Self::TOLD);
        Self(self.0 & keep | new.0 & !keep)
    }

    #[must_use]
    #[inline(always)]
    pub const fn unlocked(self) -> Self {
        Self(self.0 & !Self::LOCKED)
    }

    /// The state of another word, and the FINs that wait there.
    #[must_use]
    #[inline(always)]
    pub const fn with_progress_of(self, other: Self) -> Self {
        let progress = Self::STATE | Self::CLIENT_FIN | Self::REPLICA_FIN;
        Self(self.0 & !progress | other.0 & progress)
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lock = if self.locked() { ", locked" } else { "" };
        let fins = match (self.fin(true), self.fin(false)) {
            (false, false) => "",
            (true, false) => ", client's FIN",
            (false, true) => ", replica's FIN",
            (true, true) => ", both FINs",
        };
        write!(f, "{:?} {:?}{lock}{fins}, version {}", self.state(), self.direction(), self.version())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_word_keeps_its_parts_apart() {
        for state in State::ALL {
            for direction in [Direction::ToReplica, Direction::ToClient, Direction::Direct] {
                for wide in [false, true] {
                    let control = Control(77 << Control::VERSION_SHIFT).taken();
                    let control = control.become_(Control::new(state, direction, wide));
                    assert!(control.locked() && control.version() == 78);
                    let control = control.unlocked().with_fin(true, true);
                    assert_eq!(
                        (control.state(), control.direction(), control.wide()),
                        (state, direction, wide)
                    );
                    assert!(control.fin(true) && !control.fin(false) && !control.is_free());
                    let next = control.with_state(State::CLOSED).with_fin(true, false);
                    assert_eq!((next.state(), next.version()), (State::CLOSED, 78));
                    assert!(control.freed().is_free() && control.freed().version() == 79);
                    let steady = next.with_state(State::ESTABLISHED).0 & Control::STEADY_MASK;
                    assert_eq!(steady, if wide { Control::STEADY_WIDE } else { Control::STEADY });
                }
            }
        }
    }

    #[test]
    fn a_version_that_wraps_leaves_the_rest_alone() {
        let last = Control(u32::MAX).unlocked();
        assert_eq!(last.taken().version(), 0);
        assert_eq!(last.taken().state(), last.state());
    }
}
