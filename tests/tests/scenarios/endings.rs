//! How connections end: in an order that is not the usual one, over a network that is gone for a while, or by silence.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use dtr_lb_tests::{
    balancer::{Balancer, service_with},
    lab::{Capture, Families, Frame, Lab, RawSocket, Replica, Segment, Server, serve, until},
};

use crate::{CROSSWISE, Place, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = &[
    // Where a state and a time are all that counts, each family of places once.
    ("an_answer_arrives_after_the_clients_network_was_gone", &[Place::XDP_TWO_ARM], late_answer),
    // Who is told, is told by a frame of the datapath's own or the agent's, and so by each hook.
    ("both_ends_are_told_after_idle_timeout", CROSSWISE, told),
    ("a_replica_that_speaks_after_idle_timeout_leaves_no_client_hanging", &[Place::TC_ONE_ARM], late_word),
    ("a_replicas_fin_before_the_clients_ack_counts", &[Place::TC_ONE_ARM], early_fin),
];

const PORT: u16 = 7000;

/// A lab in which every replica does `talk` with those who connect, and says of itself that it is up. A connection that ends
/// without a byte is a probe.
fn stage(
    place: Place,
    set: &str,
    talk: impl Fn(TcpStream) + Send + Sync + 'static,
) -> Result<(Stage, Vec<Server>)> {
    let lab = Lab::create(place.family_options(Families::V4))?;
    let talk = Arc::new(talk);
    let start = |replica: &Replica| {
        let talk = Arc::clone(&talk);
        Ok(serve(replica.namespace(), replica.address(), PORT, move |stream| talk(stream))?)
    };
    let servers = lab.replicas().iter().map(start).collect::<Result<Vec<_>>>()?;
    let mut options = place.options();
    options.services = service_with("talk", "tcp", PORT, PORT, "");
    options.sets = vec![set.to_owned()];
    let balancer = Balancer::start(&lab, &options)?;
    Ok((Stage { lab, balancer }, servers))
}

/// Opens a connection and sends a byte on it.
fn connect(stage: &Stage, byte: u8) -> Result<TcpStream> {
    let address = SocketAddr::new(stage.lab.vip(), PORT);
    let connect = || TcpStream::connect_timeout(&address, Duration::from_secs(3));
    let mut stream = stage.lab.client().namespace().run(connect)??;
    stream.write_all(&[byte])?;
    Ok(stream)
}

/// Waits for a byte, for the end or for an error.
fn wait(stream: &mut TcpStream, limit: Duration) -> io::Result<Option<u8>> {
    // A time-out of 0 would be none.
    stream.set_read_timeout(Some(limit.max(Duration::from_millis(1))))?;
    let mut byte = [0];
    Ok((stream.read(&mut byte)? > 0).then_some(byte[0]))
}

/// Whether that was the connection's end.
fn ended(outcome: &io::Result<Option<u8>>) -> bool {
    match outcome {
        Ok(byte) => byte.is_none(),
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

/// What a replica has to say to a client that has closed its own direction.
const ANSWER: usize = 8000;
/// So long the client's network is gone.
const GONE: Duration = Duration::from_secs(11);
/// The replica's kernel asks for nothing sooner: so that one silence is tried, and not six that double.
const RETRANSMITS_AFTER: &str = "12s";
/// From then on.
const ARRIVES_WITHIN: Duration = Duration::from_secs(5);

/// A client closes its direction, as `Connection: close` without keep-alive may have it, and its network goes away. The answer is
/// sent into that, with the replica's FIN behind it: both directions are closed, and not a byte has arrived. When the network is
/// back, TCP sends it all again.
fn late_answer(place: Place) -> Result<()> {
    let (gone, is_gone) = mpsc::channel();
    let is_gone = Mutex::new(is_gone);
    let (stage, _servers) = stage(place, "datapath.idle_timeout=1h", move |mut stream| {
        let limited = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let mut request = Vec::new();
        if limited.is_ok() && stream.read_to_end(&mut request).is_ok() && !request.is_empty() {
            let is_gone = is_gone.lock().unwrap_or_else(PoisonError::into_inner);
            if is_gone.recv_timeout(Duration::from_secs(5)) == Ok(()) {
                // What arrives is looked at by the client.
                let _ = stream.write_all(&[b'a'; ANSWER]);
            }
        }
    })?;
    for replica in stage.lab.replicas() {
        for (_, addresses) in stage.lab.balancer_interfaces() {
            for own in addresses.iter().filter(|own| own.address.is_ipv4() && own.prefix == 24) {
                let reached = replica.namespace().ip(&["route", "get", &own.address.to_string()]);
                if reached.is_ok() {
                    let to = own.address.to_string();
                    let route = ["route", "replace", &to, "dev", "eth0", "rto_min", RETRANSMITS_AFTER];
                    replica.namespace().ip(&route)?;
                }
            }
        }
    }
    let sent =
        Capture::start(stage.lab.client().namespace(), |frame| !frame.outgoing && frame.tcp().is_some())?;
    let mut stream = connect(&stage, b'q')?;
    stream.shutdown(Shutdown::Write)?;
    let own = stream.local_addr()?;
    // Its FIN has passed when the replica has acknowledged it; before that the answer is not sent.
    let acknowledged =
        |frame: &Frame| frame.tcp().is_some_and(|segment| segment.ack && segment.destination == own);
    let (passed, _) = sent.wait(Duration::from_secs(3), |caught| {
        let acknowledgments = caught.frames.iter().filter(|frame| acknowledged(frame));
        // SYN-ACK, the byte's, the FIN's.
        acknowledgments.count() >= 3
    });
    ensure!(passed, "the client's FIN was not acknowledged: {:?}", sent.so_far().frames);
    stage.lab.cut("client")?;
    let begun = Instant::now();
    gone.send(()).context("the replica's thread has ended")?;
    // It is the passing of time that is tried.
    thread::sleep(GONE);
    let early = sent.so_far().frames.iter().filter_map(Frame::tcp).map(|segment| segment.data).sum::<usize>();
    ensure!(early == 0, "{early} bytes arrived over a cable that is cut");
    stage.lab.join("client")?;
    stream.set_read_timeout(Some(ARRIVES_WITHIN))?;
    let mut answer = Vec::new();
    let outcome = stream.read_to_end(&mut answer);
    ensure!(
        outcome.is_ok() && answer == [b'a'; ANSWER],
        "{} of {ANSWER} bytes {:?} after the cut: {outcome:?}; verdicts {:?}",
        answer.len(),
        begun.elapsed(),
        stage.balancer.status(&stage.lab)?.verdicts
    );
    Ok(())
}

const IDLE: Duration = Duration::from_secs(2);
const IDLE_SET: &str = "datapath.idle_timeout=2s";
/// The agent looks through the table every second. The rest is for a busy machine.
const TOLD_WITHIN: Duration = IDLE.saturating_add(Duration::from_secs(4));
const CONNECTIONS: u8 = 10;

/// Connections on which nobody says anything: when they are forgotten, both ends hear of it, and neither has to ask.
fn told(place: Place) -> Result<()> {
    let (report, reports) = mpsc::channel();
    let (stage, _servers) = stage(place, IDLE_SET, move |mut stream| {
        if let Ok(Some(number)) = wait(&mut stream, TOLD_WITHIN)
            && stream.write_all(&[number]).is_ok()
        {
            // Who asked may be gone: then it has failed already.
            let _ = report.send((number, wait(&mut stream, TOLD_WITHIN)));
        }
    })?;
    let begun = Instant::now();
    let mut streams = Vec::new();
    for number in 0..CONNECTIONS {
        let mut stream = connect(&stage, number)?;
        let echo = wait(&mut stream, Duration::from_secs(3))?;
        ensure!(echo == Some(number), "connection {number} answers {echo:?}");
        streams.push(stream);
    }
    let deadline = Instant::now() + TOLD_WITHIN;
    // They are opened within milliseconds, and their ends come together.
    let first = wait(&mut streams[0], TOLD_WITHIN);
    let told_after = begun.elapsed();
    let clients: Vec<_> = streams[1..]
        .iter_mut()
        .map(|stream| wait(stream, deadline.saturating_duration_since(Instant::now())))
        .chain([first])
        .collect();
    // Each thread of a replica reports when its own limit is over, at the latest.
    let replicas: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            reports.recv_timeout(TOLD_WITHIN + Duration::from_secs(1)).context("a replica reports nothing")
        })
        .collect::<Result<_>>()?;
    // The first one: the kernel's ticks are of 10 ms at most.
    let early = clients.last().is_some_and(ended) && told_after < IDLE - Duration::from_millis(50);
    ensure!(!early, "cut off after {told_after:?}, and {IDLE:?} are allowed");
    let deaf_clients: Vec<_> = clients.iter().filter(|outcome| !ended(outcome)).collect();
    let deaf_replicas: Vec<_> = replicas.iter().filter(|(_, outcome)| !ended(outcome)).collect();
    ensure!(
        deaf_clients.is_empty() && deaf_replicas.is_empty(),
        "of {CONNECTIONS} connections that were idle for {IDLE:?}, {} clients and {} replicas are not told within \
         {TOLD_WITHIN:?}; the first: {:?}, {:?}; verdicts {:?}",
        deaf_clients.len(),
        deaf_replicas.len(),
        deaf_clients.first(),
        deaf_replicas.first(),
        stage.balancer.status(&stage.lab)?.verdicts
    );
    Ok(())
}

/// When replicas speak: from the moment on in which a connection may be forgotten, until it has been, in steps of this.
const STEP: Duration = Duration::from_millis(100);
const STEPS: u8 = 16;

/// A replica speaks when the connection has been idle for as long as it may be, or longer: the client gets the word, or is
/// told that nothing comes any more.
fn late_word(place: Place) -> Result<()> {
    let (stage, _servers) = stage(place, IDLE_SET, |mut stream| {
        if let Ok(Some(number)) = wait(&mut stream, TOLD_WITHIN)
            && stream.write_all(&[number]).is_ok()
            // Nothing comes: this passes the time. What does come is the end.
            && wait(&mut stream, IDLE + STEP * u32::from(number)).is_err()
        {
            let _ = stream.write_all(b"w");
            // It stays open, for longer than the client waits.
            let _ = wait(&mut stream, 2 * TOLD_WITHIN);
        }
    })?;
    let mut streams = Vec::new();
    for number in 0..STEPS {
        let mut stream = connect(&stage, number)?;
        let echo = wait(&mut stream, Duration::from_secs(3))?;
        ensure!(echo == Some(number), "connection {number} answers {echo:?}");
        streams.push(stream);
    }
    let deadline = Instant::now() + TOLD_WITHIN;
    let mut hanging = Vec::new();
    let mut words = 0;
    for (number, stream) in (0..).zip(&mut streams) {
        match wait(stream, deadline.saturating_duration_since(Instant::now())) {
            Ok(Some(b'w')) => words += 1,
            Ok(Some(other)) => bail!("connection {number} says {other}"),
            outcome if ended(&outcome) => {}
            outcome => hanging.push((STEP * number, outcome)),
        }
    }
    ensure!(
        hanging.is_empty(),
        "{} of {STEPS} clients hang, {words} got the word; the first whose replica spoke so long after the time-out: {:?}; \
         verdicts {:?}",
        hanging.len(),
        hanging[0],
        stage.balancer.status(&stage.lab)?.verdicts
    );
    Ok(())
}

/// A client that is nobody's: its address is routed nowhere, and what comes for it only the capture sees.
const RAW_CLIENT: &str = "198.18.7.7:40007";

/// SYN, SYN-ACK, the replica's FIN, and only then the client's ACK: as where the ACK is late, or a server that need not wait for it
/// (RFC 7413) hangs up at once. The FIN counts: the connection does not stay established, and ends when the client closes.
///
/// No socket can be made to do that on order, so that both ends speak by hand. The SYN-ACK is nginx's.
fn early_fin(place: Place) -> Result<()> {
    let stage = place.stage_with(place.family_options(Families::V4), &place.options())?;
    let own: SocketAddr = RAW_CLIENT.parse()?;
    let client = RawSocket::open(stage.lab.client().namespace(), stage.lab.vip())?;
    let capture = Capture::start(stage.lab.client().namespace(), move |frame| {
        !frame.outgoing && frame.tcp().is_some_and(|segment| segment.destination == own)
    })?;
    let seen = |what: fn(&Segment) -> bool| -> Result<Segment> {
        let find = |frames: &[Frame]| frames.iter().filter_map(Frame::tcp).find(what);
        let (_, caught) = capture.wait(Duration::from_secs(3), |caught| find(&caught.frames).is_some());
        find(&caught.frames).with_context(|| format!("the client saw only {:?}", caught.frames))
    };
    let syn = Segment { syn: true, sequence: 1000, ..Segment::between(own, stage.http()) };
    client.send(&syn.packet(&[]))?;
    let answer = seen(|segment| segment.syn && segment.ack)?;
    ensure!(answer.acknowledgment == 1001, "{answer:?}");

    let listed = stage.flows(&["--half-open", "--client", "198.18.7.7/32"])?;
    let line = listed.flows.first().with_context(|| format!("the handshake is not listed: {listed:?}"))?;
    let (nat, address) = line.nat.zip(line.replica_address).context("not a NAT flow")?;
    let replica = stage.lab.replica(&line.replica).context("no such replica")?;
    let replica = RawSocket::open(replica.namespace(), nat.ip())?;
    let fin = Segment {
        fin: true,
        ack: true,
        sequence: answer.sequence.wrapping_add(1),
        acknowledgment: 1001,
        ..Segment::between(address, nat)
    };
    replica.send(&fin.packet(&[]))?;
    seen(|segment| segment.fin)?;

    let ack = Segment { syn: false, ack: true, sequence: 1001, ..syn.clone() };
    let acknowledging = |n: u32| Segment { acknowledgment: answer.sequence.wrapping_add(n), ..ack.clone() };
    client.send(&acknowledging(1).packet(&[]))?;
    client.send(&acknowledging(2).packet(&[]))?;
    let mut listed = None;
    let mut state = || {
        listed = stage
            .flows(&["--client", "198.18.7.7/32"])
            .ok()
            .and_then(|listed| listed.flows.into_iter().next());
        listed.as_ref().map(|line| line.state.clone())
    };
    let after = until(Duration::from_secs(3), || state().is_some());
    ensure!(after, "the connection is not listed");
    let now = state();
    ensure!(
        now.as_deref() == Some("replica_closed"),
        "after the replica's FIN and the client's ACK it is {now:?}"
    );
    client.send(&Segment { fin: true, ..acknowledging(2) }.packet(&[]))?;
    let ended = until(Duration::from_secs(3), || {
        stage.flows(&["--client", "198.18.7.7/32"]).is_ok_and(|listed| listed.carrying == 0)
    });
    ensure!(ended, "both have closed, and it still carries data: {:?}", state());
    Ok(())
}
