//! A trace as a pcapng file: each packet as it came in and, if it left, as it left, with the verdict as a comment.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use pcap_file::{
    DataLink, PcapError,
    pcapng::{
        PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
        },
    },
};

use super::{PacketLine, Ways};

/// Of the block's flags (draft-ietf-opsawg-pcapng section 4.3.1): the frame came in, or went out.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;
/// Time stamps are in units of 10^-9 s.
const NANOSECONDS: u8 = 9;

/// The file.
pub struct PcapFile<W: Write> {
    writer: PcapNgWriter<W>,
    /// The numbers of interfaces by name; one is described when its first packet comes.
    interfaces: BTreeMap<String, u32>,
}

impl<W: Write> PcapFile<W> {
    pub fn new(writer: W) -> io::Result<Self> {
        let writer = PcapNgWriter::new(writer).map_err(other)?;
        Ok(Self { writer, interfaces: BTreeMap::new() })
    }

    /// Adds a packet.
    pub fn add(&mut self, packet: &PacketLine) -> io::Result<()> {
        let comment = packet.comment();
        self.frame(packet.time, &packet.came, INBOUND, comment.clone())?;
        if let Some(left) = &packet.left {
            self.frame(packet.time, left, OUTBOUND, format!("as it left; {comment}"))?;
        }
        Ok(())
    }

    /// Hands over what was written so far.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.get_mut().flush()
    }

    fn frame(&mut self, time: Timestamp, ways: &Ways, direction: u32, comment: String) -> io::Result<()> {
        let interface_id = self.interface(&ways.interface)?;
        let text = ways.frame.as_deref().unwrap_or_default();
        let data = BASE64_STANDARD.decode(text).map_err(io::Error::other)?;
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::try_from(time.as_duration()).unwrap_or_default(),
            original_len: ways.length,
            data: Cow::Owned(data),
            options: vec![
                EnhancedPacketOption::Comment(Cow::Owned(comment)),
                EnhancedPacketOption::Flags(direction),
            ],
        };
        self.writer.write_pcapng_block(block).map(drop).map_err(other)
    }

    fn interface(&mut self, name: &str) -> io::Result<u32> {
        if let Some(number) = self.interfaces.get(name) {
            return Ok(*number);
        }
        let block = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: 0,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Owned(name.to_owned())),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        };
        self.writer.write_pcapng_block(block).map_err(other)?;
        let number = self.interfaces.len() as u32;
        self.interfaces.insert(name.to_owned(), number);
        Ok(number)
    }
}

fn other(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use pcap_file::pcapng::{Block, PcapNgReader};

    use super::*;

    #[test]
    fn a_packet_is_there_as_it_came_and_as_it_left() {
        let ways = |interface: &str, bytes: &[u8], length| Ways {
            interface: interface.into(),
            ends: None,
            length,
            frame: Some(BASE64_STANDARD.encode(bytes)),
        };
        let packet = PacketLine {
            time: Timestamp::new(1_700_000_000, 123_456_789).expect("a time"),
            came: ways("eth0", &[1, 2, 3], 1500),
            protocol: None,
            flags: None,
            verdict: "forwarded".into(),
            reason: "Sent on.".into(),
            client: None,
            service: None,
            replica: Some("r1".into()),
            left: Some(ways("eth1", &[4, 5], 2)),
        };
        let mut bytes = Vec::new();
        let mut file = PcapFile::new(&mut bytes).expect("memory takes it");
        file.add(&packet).expect("memory takes it");
        file.add(&PacketLine { left: None, ..packet }).expect("memory takes it");
        drop(file);
        let mut reader = PcapNgReader::new(&bytes[..]).expect("a file");
        let mut found = Vec::new();
        while let Some(block) = reader.next_block() {
            if let Block::EnhancedPacket(packet) = block.expect("a block").into_owned() {
                let comment = packet.options.iter().find_map(|option| match option {
                    EnhancedPacketOption::Comment(text) => Some(text.clone().into_owned()),
                    _ => None,
                });
                let time = packet.timestamp.as_nanos();
                assert_eq!(time, 1_700_000_000_123_456_789);
                found.push((
                    packet.interface_id,
                    packet.original_len,
                    packet.data.into_owned(),
                    comment.expect("a comment"),
                ));
            }
        }
        let came = (0, 1500, vec![1, 2, 3], "forwarded, replica r1: Sent on.".to_owned());
        let left = (1, 2, vec![4, 5], "as it left; forwarded, replica r1: Sent on.".to_owned());
        assert_eq!(found, [came.clone(), left, came]);
    }
}
