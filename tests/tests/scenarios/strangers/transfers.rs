//! Segments of strangers on a connection that carries a download.

use std::{fs, net::SocketAddr, thread, time::Duration};

use anyhow::{Result, anyhow, ensure};
use dtr_lb_tests::lab::{Families, Segment, until};

use super::{answer, answers, false_replica, far, line, stage, stranger};
use crate::Place;

/// The port of the client that downloads. Those that the kernel chooses by itself begin above it.
const PORT: u16 = 20_077;
/// Between two rounds of segments: hundreds of each kind while the download lasts.
const PAUSE: Duration = Duration::from_millis(10);
/// Rounds come in spells. With the second of a spell comes a SYN, and with the last the same one again, when more than half a
/// second has passed: it may be taken for one that was not answered. Then, for as long, nothing comes, so that nothing puts right
/// what was wrong.
const SPELL: u32 = 70;

pub(super) fn all_kinds(place: Place) -> Result<()> {
    download(place, true)
}

/// Without resets: whoever believes the FINs takes the SYN for that of another connection, and asks another replica when it comes
/// again. A reset would end that in time.
pub(super) fn fins_and_syns(place: Place) -> Result<()> {
    download(place, false)
}

/// A download of some seconds, and all the while segments in the name of both ends that neither takes: it arrives whole. Then it
/// is closed in order, and that is seen, whatever the balancer may have taken from the others.
fn download(place: Place, resets: bool) -> Result<()> {
    let stage = stage(place, Families::V4)?;
    let whole = fs::read(stage.lab.big_file())?;
    let answers = answers(&stage)?;
    // 16 MiB at 5 MiB a second.
    let url = stage.url("http", "slow/big?rate=5m");
    let curl = stage.lab.client().clone();
    let client = SocketAddr::new(curl.address(), PORT);
    let download =
        thread::spawn(move || curl.curl(&url, &["--max-time", "20", "--local-port", &PORT.to_string()]));
    let answer = answer(&answers, client)?;
    ensure!(
        until(Duration::from_secs(2), || line(&stage, client).is_ok()),
        "the download is no flow: {:?}",
        stage.flows(&[])?
    );
    let (of_client, of_replica) = (answer.acknowledgment, answer.sequence.wrapping_add(1));
    let (replica, as_replica) = false_replica(&stage, client)?;
    let stranger = stranger(&stage, stage.lab.vip())?;
    let as_client = Segment::between(client, stage.http());
    let mut rounds = 0;
    while !download.is_finished() {
        rounds += 1;
        thread::sleep(PAUSE);
        let (spell, round) = (rounds / SPELL, rounds % SPELL);
        if spell % 2 == 1 {
            continue;
        }
        for (socket, segment, own, others) in
            [(&stranger, &as_client, of_client, of_replica), (&replica, &as_replica, of_replica, of_client)]
        {
            let numbered = Segment { sequence: far(own, rounds), ..segment.clone() };
            let acknowledging =
                Segment { ack: true, acknowledgment: far(others, rounds), ..numbered.clone() };
            for sent in [
                Segment { rst: resets, ..numbered.clone() },
                Segment { rst: resets, ..acknowledging.clone() },
                Segment { fin: true, ..acknowledging.clone() },
                Segment { data: 100, ..acknowledging.clone() },
                acknowledging,
            ] {
                socket.send(&sent.packet(&[]))?;
            }
        }
        if round == 1 || round == SPELL - 1 {
            let syn = Segment { syn: true, sequence: far(of_client, spell), ..as_client.clone() };
            stranger.send(&syn.packet(&[]))?;
        }
    }
    let outcome = download.join().map_err(|_| anyhow!("the download's thread panicked"))??;
    ensure!(
        outcome.is_ok() && outcome.body == whole,
        "exit {}, {} of {} bytes after {:?} and {rounds} rounds: {}; verdicts {:?}",
        outcome.exit,
        outcome.body.len(),
        whole.len(),
        outcome.time_total,
        outcome.stderr,
        stage.balancer.status(&stage.lab)?.verdicts
    );
    ensure!(rounds > 100, "{rounds} rounds only");
    let mut state = String::new();
    let over = until(Duration::from_secs(3), || {
        state = line(&stage, client).map_or("none".to_owned(), |line| line.state);
        // Who forges both ends may have said a number by one and reset by it as the other (ARCHITECTURE): whoever talks on takes
        // that back, and after the end nobody does.
        ["none", "closed", "time_wait", "client_reset", "replica_reset"].contains(&state.as_str())
    });
    ensure!(over, "both have closed, and the connection is {state}");
    Ok(())
}
