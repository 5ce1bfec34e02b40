//! ICMP: echo to a service's address, errors about connections, and the errors that the datapath itself sends.
//!
//! An error goes to the end whose packet it quotes, and quotes it there as that end has sent it. Whether an error of a
//! known connection must go on is not demanded here: the fixtures do.

use dtr_lb_common::{
    abi::Mode,
    verdict::{Action, Verdict},
};

use super::{Oracle, Step, bytes, bytes::Wrong, connection::Phase};
use crate::{
    net::{End, Ip, Way},
    reader::{ETHERNET, Seen, follow, read},
};

impl Oracle {
    pub(super) fn icmp(&mut self, step: &Step<'_>, seen: &Seen) -> Result<(), Wrong> {
        match step.verdict {
            Verdict::AnsweredEcho => self.echo(step, seen),
            Verdict::ForwardedIcmp => self.error(step, seen),
            Verdict::PassedIcmp | Verdict::PassedMalformed | Verdict::PassedFragment => Ok(()),
            Verdict::PassedNotReady if !step.world().ready => Ok(()),
            verdict if verdict.action() == Action::Drop && quoted(step.before, seen).is_some() => Ok(()),
            verdict => Err(format!("{} of an ICMP packet", verdict.name())),
        }
    }

    fn echo(&self, step: &Step<'_>, seen: &Seen) -> Result<(), Wrong> {
        let (request, reply) = if seen.v4 { (8, 0) } else { (128, 129) };
        let of_vip = step.world().is_vip(&seen.to.ip);
        if !of_vip || step.before.get(seen.transport) != Some(&request) || seen.first_fragment {
            return Err("answered, and is no echo request to a service".to_owned());
        }
        let answer = read(step.after).map_err(|unread| format!("the answer is {unread:?}"))?;
        step.leaves_by(&step.came)?;
        let mut want = step.before.to_vec();
        let back = step.came.back();
        want[..6].copy_from_slice(&back.destination);
        want[6..12].copy_from_slice(&back.source);
        want[seen.transport] = reply;
        // Hop limit and checksums are looked at below.
        let addresses = if seen.v4 { ETHERNET + 12..ETHERNET + 20 } else { ETHERNET + 8..ETHERNET + 40 };
        want[addresses].copy_from_slice(&[seen.to.ip.bytes(), seen.from.ip.bytes()].concat());
        let hops = if seen.v4 { ETHERNET + 8..ETHERNET + 9 } else { ETHERNET + 7..ETHERNET + 8 };
        let header_sum = if seen.v4 { ETHERNET + 10..ETHERNET + 12 } else { 0..0 };
        for free in [hops, header_sum, seen.transport + 2..seen.transport + 4] {
            let got = step.after.get(free.clone()).ok_or("the answer is short")?;
            want[free].copy_from_slice(got);
        }
        if want != step.after || answer.ttl == 0 {
            return Err("the answer differs from the request in more than an answer may".to_owned());
        }
        if seen.checksum_right(step.before) == Some(true) && !bytes::icmp_right(step.after, &answer) {
            return Err("the answer's ICMP checksum is wrong".to_owned());
        }
        Ok(())
    }

    fn error(&self, step: &Step<'_>, seen: &Seen) -> Result<(), Wrong> {
        let (from, to) = quoted(step.before, seen).ok_or("forwarded, and quotes no TCP")?;
        // What a replica was sent: the client sent it. What a client was sent: the replica did.
        let mut stands = self.connections.iter().rev().filter(|one| one.phase != Phase::Gone);
        let about_client = stands.clone().find(|one| one.side == Some((to, from)));
        let about_replica =
            stands.find(|one| one.client == to && one.vip == from && one.phase != Phase::Held);
        if let Some(one) = about_client.or(about_replica) {
            let over = one.phase == Phase::Held || (!one.phase.live() && one.outlived(self.now));
            if over {
                return Err(format!("forwarded, about a connection that is no more: {one:?}"));
            }
        }
        let (ways, end, wanted): (Vec<Way>, Ip, _) = if let Some(one) = about_client {
            (vec![one.way], one.client.ip, (one.client, one.vip))
        } else if let Some(one) = about_replica {
            let (service, replica) = step.world().replica(one.replica).ok_or("no replica")?;
            let Some(side) = one.side else {
                // It goes to the replica as it is, by the mode of the service.
                step.leaves_by(&replica.way)?;
                return match service.mode {
                    Mode::IPIP => {
                        let (from, to) = (replica.nat[0], replica.end.ip);
                        bytes::encapsulated(step.before, seen, step.after, &replica.way, &from, &to).map(drop)
                    }
                    _ => bytes::redirected(step.before, step.after, &replica.way),
                };
            };
            (vec![replica.way], replica.end.ip, side)
        } else {
            return Err(format!("forwarded, about {from:?} to {to:?}, which is no connection"));
        };
        let left = read(step.after).map_err(|unread| format!("what left is {unread:?}"))?;
        if !ways.iter().any(|way| step.left_by(way)) {
            return Err("the error left by another way than its connection".to_owned());
        }
        if left.to.ip != end {
            return Err(format!("the error went to {:?} and not to {end:?}", left.to.ip));
        }
        if quoted(step.after, &left) != Some(wanted) {
            return Err(format!("the error quotes {:?} and not {wanted:?}", quoted(step.after, &left)));
        }
        if seen.checksum_right(step.before) == Some(true) && !bytes::icmp_right(step.after, &left) {
            return Err("the error's checksum was right and is wrong".to_owned());
        }
        Ok(())
    }

    /// An error that says that a packet is too large: to its sender, from whom it was for, quoting it.
    pub(super) fn too_big(&self, step: &Step<'_>, seen: &Seen) -> Result<(), Wrong> {
        step.leaves_by(&step.came)?;
        let answer = read(step.after).map_err(|unread| format!("the answer is {unread:?}"))?;
        let kind = if answer.v4 { [3, 4] } else { [2, 0] };
        let back = step.came.back();
        if answer.to.ip != seen.from.ip
            || answer.from.ip != seen.to.ip
            || answer.v4 != seen.v4
            || !step.after.starts_with(&back.destination)
            || step.after[6..12] != back.source
            || step.after.get(answer.transport..answer.transport + 2) != Some(&kind)
        {
            return Err("the answer is no error to its sender".to_owned());
        }
        if !bytes::icmp_right(step.after, &answer) {
            return Err("the answer's ICMP checksum is wrong".to_owned());
        }
        if quoted(step.after, &answer) != Some((seen.from, seen.to)) {
            return Err("the answer quotes another packet".to_owned());
        }
        let mtu = if answer.v4 { 6 } else { 4 };
        let at = answer.transport + mtu;
        let bytes = if answer.v4 { &step.after[at..at + 2] } else { &step.after[at..at + 4] };
        let mtu = bytes.iter().fold(0, |mtu, byte| mtu << 8 | usize::from(*byte));
        if mtu < seen.ip_length { Ok(()) } else { Err(format!("the answer says that {mtu} bytes fit")) }
    }
}

/// The ends of the TCP packet that an ICMP error quotes.
fn quoted(frame: &[u8], seen: &Seen) -> Option<(End, End)> {
    let message = frame.get(seen.transport..)?;
    let is_error = match (seen.v4, message.first()?) {
        (true, 3 | 4 | 5 | 11 | 12) | (false, 1..=4) => true,
        (true | false, _) => false,
    };
    let packet = message.get(8..).filter(|_| is_error)?;
    let (from, to, tcp) = if seen.v4 {
        let length = usize::from(packet.first()? & 0xf) * 4;
        let header = packet.get(..20).filter(|header| header[9] == 6 && header[0] >> 4 == 4)?;
        (Ip::from_bytes(&header[12..16]), Ip::from_bytes(&header[16..20]), packet.get(length..length + 4)?)
    } else {
        let header = packet.get(..40).filter(|header| header[0] >> 4 == 6)?;
        let chain = follow(packet, 40, header[6]).ok().filter(|chain| chain.protocol == 6)?;
        let tcp = packet.get(chain.at..chain.at + 4)?;
        (Ip::from_bytes(&header[8..24]), Ip::from_bytes(&header[24..40]), tcp)
    };
    let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    Some((End { ip: from, port: port(0) }, End { ip: to, port: port(2) }))
}
