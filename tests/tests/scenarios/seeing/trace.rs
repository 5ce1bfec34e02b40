//! Traces: what they show, the file that they write, and how they end.

use std::{
    collections::BTreeMap,
    fs,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{
    links::{FdLink, PinnedLink},
    loaded_programs,
};
use dtr_lb_agent::trace::{Line, PacketLine};
use dtr_lb_tests::{
    balancer::service_with,
    lab::{LabOptions, Process, literal, until},
};
use nix::sys::signal::Signal;

use crate::{Place, Stage};

/// The verifier takes a second on a machine with nothing else to do.
const BEGINS_WITHIN: Duration = Duration::from_secs(20);
/// From the last packet, or the end of whoever traces, to what follows.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// A trace under way.
pub(crate) struct Trace {
    process: Process,
}

impl Trace {
    /// Starts one, and waits until packets are seen.
    pub(crate) fn begin(stage: &Stage, arguments: &[&str]) -> Result<Self> {
        // A log of its own: what an earlier one has said is not to be taken for this one's.
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("trace-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let process = stage.balancer.spawn_command(&stage.lab, &name, &[&["trace"], arguments].concat())?;
        let trace = Self { process };
        let begun =
            until(BEGINS_WITHIN, || trace.log().contains("tracing eth0") || !trace.process.is_running());
        ensure!(begun && trace.process.is_running(), "the trace does not begin: {}", trace.log());
        Ok(trace)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.process.log()).unwrap_or_default()
    }

    /// What it has shown so far.
    pub(crate) fn packets(&self) -> Vec<PacketLine> {
        let log = self.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines
            .filter_map(|line| match line {
                Line::Packet(packet) => Some(*packet),
                Line::Begin(_) | Line::End(_) => None,
            })
            .collect()
    }

    /// Ends it as a person does.
    pub(crate) fn interrupt(&self) -> Result<()> {
        self.process.signal(Signal::SIGINT)?;
        let status = self.process.wait(ENDS_WITHIN)?.context("Ctrl-C does not end the trace")?;
        ensure!(status.success(), "it ended with {status}: {}", self.log());
        Ok(())
    }

    /// Waits until it ends by itself; returns its exit status.
    fn ended(&self) -> Result<Option<i32>> {
        Ok(self.process.wait(ENDS_WITHIN)?.context("it does not end")?.code())
    }
}

/// The program in each pinned link: a digest of its instructions, and how many bytes of them the verifier has left. Both are the
/// same whenever it was loaded.
fn programs(stage: &Stage) -> Result<Programs> {
    let mut found = BTreeMap::new();
    for version in fs::read_dir(stage.lab.bpffs().join("dtr-lb"))? {
        for pin in fs::read_dir(version?.path().join("links"))? {
            let pin = pin?;
            let id = FdLink::from(PinnedLink::from_pin(pin.path())?).info()?.program_id();
            let program = loaded_programs().filter_map(Result::ok).find(|program| program.id() == id);
            let program = program.with_context(|| format!("no program has id {id}"))?;
            found.insert(
                pin.file_name().to_string_lossy().into_owned(),
                (program.tag(), program.size_translated()),
            );
        }
    }
    ensure!(!found.is_empty(), "no link is pinned");
    Ok(found)
}

type Programs = BTreeMap<String, (u64, Option<u32>)>;

fn back_again(stage: &Stage, plain: &Programs) -> Result<()> {
    let back = until(ENDS_WITHIN, || programs(stage).is_ok_and(|found| found == *plain));
    ensure!(back, "the plain programs are not back: {plain:?}, {:?}", programs(stage)?);
    Ok(())
}

/// A request, packet by packet; a client that is denied; and all the while requests of others, of which none fails.
pub(super) fn shows(place: Place) -> Result<()> {
    let lab = LabOptions { clients: 3, ..place.lab_options().without_registry() };
    let denied = match place.topology {
        dtr_lb_tests::lab::Topology::OneArm => "10.77.0.102",
        dtr_lb_tests::lab::Topology::TwoArm => "10.77.1.102",
    };
    let mut options = place.options();
    options.services = service_with("http", "http", 80, 80, &format!("deny = [\"{denied}\"]"));
    let stage = place.stage_with(lab, &options)?;
    let [busy, traced, refused] = stage.lab.clients() else { anyhow::bail!("not three clients") };
    ensure!(refused.address().to_string() == denied, "the third client is {}", refused.address());
    let plain = programs(&stage)?;
    let load = busy.background_load(stage.http(), Duration::from_millis(2), Duration::from_secs(3))?;

    let address = traced.address().to_string();
    let trace = Trace::begin(&stage, &["--json", "--service", "http", "--client", &address])?;
    ensure!(programs(&stage)? != plain, "the programs are the plain ones");
    let second = stage.balancer.command(&stage.lab, &["trace", "--for", "1s"])?;
    let words = String::from_utf8_lossy(&second.stderr).into_owned();
    ensure!(second.status.code() == Some(1) && words.contains("another trace is under way"), "{words}");
    let url = format!("http://{}/whoami", literal(stage.lab.vip()));
    let answer = traced.curl(&url, &["--max-time", "5"])?;
    ensure!(answer.is_ok(), "{answer:?}");
    // Both sides close, and each tells the other that it has heard of it.
    let closed = |packets: &[PacketLine]| {
        packets
            .iter()
            .filter(|packet| packet.flags.as_ref().is_some_and(|flags| flags.contains("FIN")))
            .count()
            == 2
    };
    ensure!(until(ENDS_WITHIN, || closed(&trace.packets())), "it does not show the end: {}", trace.log());
    trace.interrupt()?;
    is_a_request(&trace.packets(), &stage, &address, &answer.text())?;
    back_again(&stage, &plain)?;

    let trace = Trace::begin(&stage, &["--json", "--verdict", "dropped", "--count", "1"])?;
    let answer = refused.curl(&url, &["--max-time", "1"])?;
    ensure!(answer.exit == 28, "{answer:?}");
    ensure!(trace.ended()? == Some(0), "{}", trace.log());
    let [packet] = &trace.packets()[..] else { anyhow::bail!("not one packet: {}", trace.log()) };
    let fits = packet.verdict == "dropped_denied"
        && packet.reason == "A SYN from a client that `allow` and `deny` do not let in."
        && packet.flags.as_deref() == Some("SYN")
        && packet.came.ends.as_ref().is_some_and(|ends| ends.source.starts_with(denied))
        && packet.left.is_none();
    ensure!(fits, "{packet:?}");
    back_again(&stage, &plain)?;
    let requests = load.stop();
    let failed: Vec<_> = requests.iter().filter(|request| request.outcome.is_err()).collect();
    ensure!(failed.is_empty(), "{} of {} requests failed: {:?}", failed.len(), requests.len(), failed[0]);
    ensure!(requests.len() > 100, "only {} requests were made", requests.len());
    Ok(())
}

/// A handshake in its order, and all packets of the one connection, with the ends that they have on both sides.
fn is_a_request(packets: &[PacketLine], stage: &Stage, client: &str, replica: &str) -> Result<()> {
    let flags: Vec<_> = packets.iter().filter_map(|packet| packet.flags.as_deref()).collect();
    ensure!(flags.len() > 6 && flags[..3] == ["SYN", "SYN ACK", "ACK"], "{flags:?}");
    let ends = |packet: &PacketLine| -> Result<[String; 4]> {
        let came = packet.came.ends.clone().context("no ends")?;
        let left = packet.left.clone().and_then(|left| left.ends).context("it did not leave")?;
        Ok([came.source, came.destination, left.source, left.destination])
    };
    let [source, vip, nat, at] = ends(&packets[0])?;
    let wanted = stage.lab.replica(replica).context("a replica")?.http();
    ensure!(
        source.starts_with(client) && vip == stage.http().to_string() && at == wanted.to_string(),
        "{:?}",
        packets[0]
    );
    for packet in packets {
        ensure!(packet.verdict == "forwarded" && packet.replica.as_deref() == Some(replica), "{packet:?}");
        ensure!(
            packet.client.as_deref() == Some(&source) && packet.service.as_deref() == Some("http"),
            "{packet:?}"
        );
        let there = [&source, &vip, &nat, &at].map(String::clone);
        let back = [&at, &nat, &vip, &source].map(String::clone);
        let ends = ends(packet)?;
        ensure!(ends == there || ends == back, "{packet:?}");
    }
    Ok(())
}

/// tshark opens the file: each packet as it came and as it left, with the verdict beside it.
pub(super) fn capture(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let file = stage.lab.directory().join("trace.pcapng");
    let path = file.to_str().context("the path is not text")?;
    let trace = Trace::begin(&stage, &["--pcap", path, "--count", "8"])?;
    stage.shares(1)?;
    ensure!(trace.ended()? == Some(0), "{}", trace.log());
    ensure!(trace.log().contains("8 packets, that many were asked for"), "{}", trace.log());
    let read = |arguments: &[&str]| -> Result<Vec<String>> {
        let output = Command::new("tshark").args(["-n", "-r", path]).args(arguments).output()?;
        ensure!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    };
    let fields = [
        "frame.comment",
        "frame.interface_name",
        "ip.src",
        "ip.dst",
        "tcp.flags.syn",
        "frame.len",
        "frame.cap_len",
    ];
    let fields = fields.iter().flat_map(|field| ["-e", field]);
    let lines = read(&["-T", "fields"].into_iter().chain(fields).collect::<Vec<_>>())?;
    let (left, came): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.starts_with("as it left; "));
    ensure!(came.len() == 8 && left.len() == 8, "{} came, {} left: {lines:?}", came.len(), left.len());
    ensure!(lines.iter().all(|line| line.contains("forwarded, replica r")), "{lines:?}");
    let (client, vip) = (stage.lab.client().address().to_string(), stage.lab.vip().to_string());
    let first: Vec<_> = lines[0].split('\t').skip(1).collect();
    ensure!(
        first[..4] == ["eth0", &client, &vip, "1"] || first[..4] == ["eth0", &client, &vip, "True"],
        "{first:?}"
    );
    ensure!(first[4] == first[5], "a SYN is there whole: {first:?}");
    // Whole enough to be read: each request is there as it came and as it left.
    let requests = read(&["-Y", "http.request", "-T", "fields", "-e", "http.request.uri"])?;
    ensure!(requests == ["/whoami", "/whoami"], "{requests:?}");
    // The datapath's sums are right, but where the device is to make them.
    if place.hook != dtr_lb_agent::datapath::Hook::Tc {
        let wrong = read(&[
            "-o",
            "tcp.check_checksum:TRUE",
            "-o",
            "ip.check_checksum:TRUE",
            "-Y",
            "tcp.checksum.status == 0 and frame.len == frame.cap_len",
        ])?;
        ensure!(wrong.is_empty(), "{wrong:?}");
    }
    Ok(())
}

/// By its time, by the agent's end, and where the agent is killed by the start of the next one.
pub(super) fn ends(place: Place) -> Result<()> {
    let mut stage = place.stage()?;
    let plain = programs(&stage)?;
    let trace = Trace::begin(&stage, &["--for", "1s"])?;
    ensure!(trace.ended()? == Some(0), "{}", trace.log());
    ensure!(trace.log().contains("the time is over"), "{}", trace.log());
    back_again(&stage, &plain)?;

    let trace = Trace::begin(&stage, &[])?;
    stage.balancer.process().signal(Signal::SIGTERM)?;
    let ended = stage.balancer.process().wait(ENDS_WITHIN)?.context("SIGTERM does not end the agent")?;
    ensure!(ended.success(), "the agent ended with {ended}");
    ensure!(trace.ended()? == Some(1), "{}", trace.log());
    ensure!(programs(&stage)? == plain, "the agent has left the programs of a trace behind");
    let Stage { lab, balancer } = &mut stage;
    balancer.start_again(lab)?;

    let trace = Trace::begin(&stage, &[])?;
    let tracing = programs(&stage)?;
    stage.balancer.process().kill()?;
    ensure!(trace.ended()? == Some(1), "{}", trace.log());
    ensure!(programs(&stage)? == tracing && tracing != plain, "{plain:?}, {tracing:?}");
    stage.shares(20)?;
    let Stage { lab, balancer } = &mut stage;
    balancer.start_again(lab)?;
    ensure!(programs(&stage)? == plain, "the next agent has left the programs of a trace in place");
    stage.shares(20)?;
    Ok(())
}

/// Whoever reads it stops reading: the plain programs are back when its time is over, and then it is told how much was lost.
pub(super) fn unread(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let plain = programs(&stage)?;
    let forwarded = || -> Result<u64> { Ok(stage.balancer.status(&stage.lab)?.verdicts["forwarded"]) };
    let before = forwarded()?;
    let file = stage.lab.directory().join("trace.pcapng");
    let path = file.to_str().context("the path is not text")?;
    let limits = ["--count", "1000000", "--for", "12s", "--snap", "2048"];
    let trace = Trace::begin(&stage, &[&["--verdict", "forwarded", "--pcap", path][..], &limits].concat())?;
    trace.process.signal(Signal::SIGSTOP)?;
    // 16 MiB in frames of 1500 bytes, each as it came and as it left: four times what the ring has room for.
    stage.download_at("http", stage.lab.vip())?;
    ensure!(programs(&stage)? != plain, "the download took longer than the trace");
    let back =
        until(Duration::from_secs(12) + ENDS_WITHIN, || programs(&stage).is_ok_and(|found| found == plain));
    ensure!(back, "nobody reads the trace, and its programs are still there");
    trace.process.signal(Signal::SIGCONT)?;
    ensure!(trace.ended()? == Some(0), "{}", trace.log());
    let log = trace.log();
    let last = log.lines().last().unwrap_or_default();
    let numbers: Vec<u64> = last.split(' ').filter_map(|word| word.replace(',', "").parse().ok()).collect();
    let [shown, lost] = numbers[..] else { anyhow::bail!("not two numbers: {last}") };
    ensure!(last.contains("the time is over") && last.contains("more matched that are not shown"), "{last}");
    // All that the datapath has counted under the verdict.
    ensure!(
        lost > 0 && shown + lost == forwarded()? - before,
        "{last}; {before} before, {} after",
        forwarded()?
    );
    let read =
        Command::new("tshark").args(["-n", "-r", path, "-T", "fields", "-e", "frame.comment"]).output()?;
    let comments = String::from_utf8_lossy(&read.stdout).into_owned();
    let came = comments.lines().filter(|comment| comment.starts_with("forwarded")).count();
    ensure!(came as u64 == shown, "{shown} are said to be in the file, {came} are");
    Ok(())
}
