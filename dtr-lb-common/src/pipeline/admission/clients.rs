//! What is remembered of a client, and for how long that counts.

use crate::abi::{Client, Ticks};

/// For how many seconds a proof of an address holds.
pub const PROOF: Ticks = 600;
/// For how many that of an address and port does: its SYN comes again within some milliseconds, or a second.
pub const PROOF_OF_PORT: Ticks = 16;
/// SYNs of a second that are let in for a proof of their address while no handshake follows. Whoever knows such an address
/// may invent SYNs from it; beyond this each has to be proven with its port, which he would have to guess.
pub const PENDING: i32 = 64;

impl Client {
    /// Whether it has proven itself within so many ticks.
    #[inline(always)]
    pub const fn is_proven(&self, within: Ticks, now: Ticks) -> bool {
        self.proven != 0 && is_within(self.proven, within, now)
    }

    /// It has proven itself.
    #[inline(always)]
    pub const fn prove(&mut self, now: Ticks) {
        self.proven = moment(now);
    }

    /// Takes in a SYN of an address that is proven. Says whether it is let in for that.
    #[inline(always)]
    pub const fn asks(&mut self, second: Ticks, now: Ticks) -> bool {
        self.roll(second, now);
        self.pending = self.pending.saturating_add(1);
        self.pending <= PENDING
    }

    /// Takes in a handshake that it completed.
    #[inline(always)]
    pub const fn opens(&mut self, second: Ticks, now: Ticks) {
        self.roll(second, now);
        self.opened = self.opened.saturating_add(1);
        self.pending = self.pending.saturating_sub(1);
    }

    /// Connections that it has opened in this second.
    #[inline(always)]
    pub const fn opened_now(&mut self, second: Ticks, now: Ticks) -> u32 {
        self.roll(second, now);
        self.opened
    }

    /// Begins another second.
    #[inline(always)]
    const fn roll(&mut self, second: Ticks, now: Ticks) {
        if now.wrapping_sub(self.second) >= second {
            self.second = now;
            self.opened = 0;
            self.pending = 0;
        }
    }

    /// The replica of its last connection, if that was opened within so many ticks; 0 if not.
    #[inline(always)]
    pub const fn last_replica(&self, within: Ticks, now: Ticks) -> u32 {
        if self.used != 0 && is_within(self.used, within, now) { self.replica } else { 0 }
    }

    /// It has a connection with this replica.
    #[inline(always)]
    pub const fn uses(&mut self, replica: u32, now: Ticks) {
        self.replica = replica;
        self.used = moment(now);
    }
}

/// Whether it was so many ticks ago at most; a moment that is still to come, by [`moment`] or another processor's clock, was now.
const fn is_within(then: Ticks, within: Ticks, now: Ticks) -> bool {
    now.wrapping_sub(then) as i32 <= within as i32
}

/// A time that is not 0, which is never.
const fn moment(now: Ticks) -> Ticks {
    if now == 0 { 1 } else { now }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Ticks = 250;

    #[test]
    fn a_proof_lasts_for_a_while_and_at_no_time_for_ever() {
        for at in [0, 5, u32::MAX - 3] {
            let mut client = Client::default();
            assert!(!client.is_proven(PROOF * SECOND, at));
            client.prove(at);
            assert!(client.is_proven(PROOF * SECOND, at));
            assert!(client.is_proven(PROOF * SECOND, at.wrapping_add(PROOF * SECOND)));
            assert!(!client.is_proven(PROOF * SECOND, at.wrapping_add(PROOF * SECOND + 2)));
        }
    }

    #[test]
    fn syns_that_no_handshake_follows_use_up_what_an_address_is_worth() {
        let mut client = Client::default();
        let let_in = |client: &mut Client, now| (0..200).filter(|_| client.asks(SECOND, now)).count();
        assert_eq!(let_in(&mut client, 1000), PENDING as usize);
        assert_eq!(let_in(&mut client, 1000 + SECOND), PENDING as usize, "the next second");
        let real = (0..200).filter(|_| {
            let let_in = client.asks(SECOND, 2000);
            client.opens(SECOND, 2000);
            let_in
        });
        assert_eq!(real.count(), 200);
        assert_eq!(client.opened_now(SECOND, 2000), 200);
        assert_eq!(client.opened_now(SECOND, 2000 + SECOND), 0);
    }

    #[test]
    fn a_replica_is_kept_for_as_long_as_it_is_used() {
        let mut client = Client::default();
        assert_eq!(client.last_replica(SECOND, 0), 0);
        client.uses(7, 0);
        assert_eq!(client.last_replica(SECOND, SECOND), 7);
        client.uses(7, SECOND);
        assert_eq!(client.last_replica(SECOND, 2 * SECOND), 7);
        assert_eq!(client.last_replica(SECOND, 3 * SECOND), 0);
    }
}
