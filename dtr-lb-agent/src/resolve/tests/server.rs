//! A real name server on the loopback: dnsmasq, whose records can be changed while it runs. It logs what it is asked, and
//! that log is the oracle for when.

use std::{
    fs,
    net::UdpSocket,
    path::Path,
    process::{Child, Command, Stdio},
};

use hickory_resolver::{
    config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts},
    proto::rr::Name,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::*;

/// Far more than a look takes, on a busy machine.
const AMPLE: Duration = Duration::from_secs(15);

struct Server {
    directory: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl Server {
    fn start(ttl: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Free now; who else would take it within a moment fails the test by name.
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        fs::write(directory.path().join("hosts"), "").unwrap();
        let process = Self::spawn(directory.path(), port, ttl);
        Self { directory, port, process }
    }

    fn spawn(directory: &Path, port: u16, ttl: u64) -> Child {
        let at = |name: &str| directory.join(name).display().to_string();
        // Before it has started, the signal that makes it read its hosts would end it.
        let log = directory.join("log");
        let _ = fs::remove_file(&log);
        let process = Command::new("dnsmasq")
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--pid-file=",
            ])
            .args(["--bind-interfaces", "--listen-address=127.0.0.1", "--user=", "--group="])
            .args(["--local=/test/", "--log-queries", &format!("--log-facility={}", at("log"))])
            .args([
                format!("--port={port}"),
                format!("--local-ttl={ttl}"),
                format!("--addn-hosts={}", at("hosts")),
            ])
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("dnsmasq: {error}; `cargo xtask setup` installs it"));
        let begun = Instant::now();
        while !fs::read_to_string(&log).is_ok_and(|log| log.contains("started")) {
            assert!(begun.elapsed() < AMPLE, "dnsmasq has not started");
            std::thread::sleep(Duration::from_millis(10));
        }
        process
    }

    /// Makes it say something else from now on.
    fn say(&self, hosts: &str) {
        fs::write(self.directory.path().join("hosts"), hosts).unwrap();
        let pid = nix::unistd::Pid::from_raw(self.process.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).unwrap();
    }

    fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn start_again(&mut self, ttl: u64) {
        self.process = Self::spawn(self.directory.path(), self.port, ttl);
    }

    /// How often it was asked for an A record of a name.
    fn asked(&self, name: &str) -> usize {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        log.matches(&format!("query[A] {name} ")).count()
    }

    /// A resolver with this server and a search domain, which gives up soon.
    fn dns(&self) -> Dns {
        let port = self.port;
        Dns::by(move || {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = port;
                connection
            });
            let server = NameServerConfig::new([127, 0, 0, 1].into(), true, connections.to_vec());
            let search = vec![Name::from_ascii("empty.test.").unwrap(), Name::from_ascii("test.").unwrap()];
            let mut options = ResolverOpts::default();
            options.timeout = Duration::from_millis(500);
            options.attempts = 1;
            (ResolverConfig::from_parts(None, search, vec![server]), options)
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been stopped already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn until(answers: &mut watch::Receiver<Answers>, name: &str, expected: &[&str]) {
    let expected = addresses(expected);
    let is_it = |answers: &Answers| answers.get(name).is_some_and(|known| known.addresses() == expected);
    let found = timeout(AMPLE, answers.wait_for(is_it)).await.is_ok();
    assert!(found, "{name} is not {expected:?}: {:?}", answers.borrow());
}

async fn until_error(answers: &mut watch::Receiver<Answers>, name: &str, is_one: bool) {
    let is_it = |answers: &Answers| answers.get(name).is_some_and(|known| known.error().is_some() == is_one);
    assert!(timeout(AMPLE, answers.wait_for(is_it)).await.is_ok(), "error {is_one}: {:?}", answers.borrow());
}

fn follow(
    server: &Server,
    names: &[&str],
) -> (Resolver, watch::Sender<BTreeSet<String>>, watch::Receiver<Answers>) {
    let (wanted, receiver) = watch::channel(names.iter().map(ToString::to_string).collect());
    let (resolver, answers) = Resolver::spawn(server.dns(), receiver, &BTreeMap::new());
    (resolver, wanted, answers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_change_end_and_come_back() {
    let mut server = Server::start(1);
    server.say("10.0.0.1 dtr.test\n10.0.0.2 dtr.test\n2001:db8::1 dtr.test\n");
    let (_resolver, _wanted, mut answers) = follow(&server, &["dtr.test", "dtr", "gone.test"]);
    until(&mut answers, "dtr.test", &["10.0.0.1", "10.0.0.2", "2001:db8::1"]).await;
    until(&mut answers, "dtr", &["10.0.0.1", "10.0.0.2", "2001:db8::1"]).await;
    until_error(&mut answers, "gone.test", true).await;
    assert!(answers.borrow()["gone.test"].error().unwrap().contains("NXDOMAIN"), "{:?}", answers.borrow());

    // One goes, one comes; no addresses of a family any more.
    server.say("10.0.0.2 dtr.test\n10.0.0.3 dtr.test\n");
    until(&mut answers, "dtr.test", &["10.0.0.2", "10.0.0.3"]).await;

    // An address of one family only; then no such name: that is no answer.
    server.say("2001:db8::2 dtr.test\n");
    until(&mut answers, "dtr.test", &["2001:db8::2"]).await;
    server.say("");
    until_error(&mut answers, "dtr.test", true).await;
    assert_eq!(answers.borrow()["dtr.test"].addresses(), addresses(&["2001:db8::2"]));

    // The server is gone, and comes back.
    server.say("10.0.0.4 dtr.test\n");
    until(&mut answers, "dtr.test", &["10.0.0.4"]).await;
    server.stop();
    until_error(&mut answers, "dtr.test", true).await;
    assert_eq!(answers.borrow()["dtr.test"].addresses(), addresses(&["10.0.0.4"]));
    server.start_again(1);
    until_error(&mut answers, "dtr.test", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_asked_for_once_in_its_time() {
    let server = Server::start(2);
    server.say("10.0.0.1 dtr.test\n");
    let (_resolver, _wanted, mut answers) = follow(&server, &["dtr.test"]);
    until(&mut answers, "dtr.test", &["10.0.0.1"]).await;
    let (before, begun) = (server.asked("dtr.test"), Instant::now());
    let enough = timeout(AMPLE, async {
        while server.asked("dtr.test") < before + 2 {
            sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(enough.await.is_ok(), "it is asked for again");
    // The first of the two may come at once, the second only when the first one's answer is over.
    assert!(begun.elapsed() >= Duration::from_millis(1900), "asked twice within {:?}", begun.elapsed());

    let server = Server::start(3600);
    server.say("10.0.0.1 dtr.test\n");
    let (_resolver, _wanted, mut answers) = follow(&server, &["dtr.test"]);
    until(&mut answers, "dtr.test", &["10.0.0.1"]).await;
    let before = server.asked("dtr.test");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(server.asked("dtr.test"), before, "an hour's answer holds for two seconds");
}
