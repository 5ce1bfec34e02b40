//! `dtr-lb trace`

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, complain, places, runtime};
use crate::{
    api::{self, Lines},
    cli::{Global, TraceArgs},
    trace::{Line, Query, pcap::PcapFile},
};

pub fn trace(global: &Global, arguments: &TraceArgs) -> Result<(), Failure> {
    let TraceArgs { client, service, port, verdict, count, limit, json, pcap, snap } = arguments;
    let query = Query {
        client: *client,
        service: service.clone(),
        port: *port,
        verdicts: (!verdict.is_empty()).then(|| verdict.join(",")),
        count: Some(*count),
        seconds: Some(limit.as_secs()),
        snap: pcap.as_ref().map(|_| *snap),
        frames: pcap.is_some(),
    };
    runtime()?.block_on(async {
        let lines = api::ask_trace(&places(global).socket, &query).await?;
        // The file comes after the agent has said yes: an old one is not emptied for nothing.
        let show = match pcap {
            Some(path) => Show::Pcap(pcap_file(path)?),
            None if *json => Show::Json,
            None => Show::Text,
        };
        show_all(lines, show).await
    })
}

/// How packets are shown.
enum Show {
    Text,
    Json,
    Pcap(PcapFile<Box<dyn Write>>),
}

fn pcap_file(path: &Path) -> Result<PcapFile<Box<dyn Write>>, Failure> {
    let failed = |error: io::Error| Failure::failed(format!("writing `{}` failed: {error}", path.display()));
    let output: Box<dyn Write> = if path == Path::new("-") {
        Box::new(io::stdout())
    } else {
        Box::new(File::create(path).map_err(failed)?)
    };
    PcapFile::new(Box::new(BufWriter::new(output)) as Box<dyn Write>).map_err(failed)
}

async fn show_all(mut lines: Lines<Line>, mut show: Show) -> Result<(), Failure> {
    // Once for all: what comes while a line is written, with nobody waiting for it, would be lost.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    let mut shown = 0_u64;
    loop {
        let line = tokio::select! {
            line = lines.next() => line?,
            // Hanging up ends the trace.
            _ = interrupt.recv() => {
                complain(&format!("ended after {shown} packets"));
                return Ok(());
            }
        };
        let Some(line) = line else {
            return Err(Failure::failed(format!(
                "the agent has ended the trace without a word after {shown} packets; its log may say why"
            )));
        };
        shown += u64::from(matches!(line, Line::Packet(_)));
        if let Err(error) = show.line(&line) {
            // That the reader has gone (`dtr-lb trace | head`) is no failure.
            return match error.kind() {
                io::ErrorKind::BrokenPipe => Ok(()),
                _ => Err(Failure::failed(format!("writing a packet failed: {error}"))),
            };
        }
        match &line {
            Line::Begin(begin) => complain(&begin.text()),
            Line::Packet(_) => {}
            Line::End(end) => {
                complain(&end.text());
                return match end.why.as_str() {
                    "agent" => Err(Failure::failed("the agent has ended the trace before its time")),
                    _ => Ok(()),
                };
            }
        }
    }
}

impl Show {
    fn line(&mut self, line: &Line) -> io::Result<()> {
        match (self, line) {
            (Self::Json, line) => {
                let text = serde_json::to_string(line)?;
                io::stdout().write_all(format!("{text}\n").as_bytes())
            }
            (Self::Text, Line::Packet(packet)) => {
                io::stdout().write_all(format!("{}\n", packet.text()).as_bytes())
            }
            (Self::Pcap(file), Line::Packet(packet)) => {
                file.add(packet)?;
                // Who looks at the file meanwhile sees whole packets.
                file.flush()
            }
            (Self::Text, _) => Ok(()),
            (Self::Pcap(file), _) => file.flush(),
        }
    }
}
