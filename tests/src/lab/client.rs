//! What a user of DTR does, from a client's namespace: curl, openssl and skopeo, the real ones.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{
    command,
    error::Error,
    image::{self, Image},
    load::{self, BackgroundLoad, Tally},
    namespace::Namespace,
    ping,
    topology::{SERVICE_NAME, literal},
};

/// One client. Cheap to clone, so that a thread can have its own.
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) namespace: Namespace,
    pub(super) address: IpAddr,
    pub(super) vips: Vec<IpAddr>,
    /// The lab's authority, as a PEM file.
    pub(super) authority: PathBuf,
    /// The directory with the same, as skopeo wants it.
    pub(super) authorities: PathBuf,
    /// What stands for `/etc/hosts`.
    pub(super) hosts: PathBuf,
    /// For temporary files: image layers are large.
    pub(super) scratch: PathBuf,
}

/// How a curl ended. A failed transfer is an outcome, not an error: tests ask for both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurlOutcome {
    /// curl's exit status: 0 done, 7 could not connect, 28 timed out, 56 reset. -1: ended by a signal.
    pub exit: i32,
    /// The HTTP status; 0 if there was no answer.
    pub http_code: u16,
    /// From start to end.
    pub time_total: Duration,
    /// The body, as far as it came.
    pub body: Vec<u8>,
    /// What curl complained of.
    pub stderr: String,
}

impl CurlOutcome {
    /// The body as text, trimmed.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }

    /// Whether the transfer was complete and the status is 200.
    pub fn is_ok(&self) -> bool {
        self.exit == 0 && self.http_code == 200
    }
}

/// The certificate a client was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The common name of its subject: in the lab, the replica's name.
    pub common_name: String,
    /// The serial number, in hexadecimal digits.
    pub serial: String,
    /// The subject's alternative names as openssl prints them: `DNS:r1`, `IP Address:10.77.0.10`.
    pub names: Vec<String>,
}

impl Client {
    /// Its namespace, in which anything else can be run.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its own address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The lab's certificate authority, as a PEM file.
    pub fn authority(&self) -> &Path {
        &self.authority
    }

    /// Runs curl. It trusts the lab's authority, takes `dtr.example.com` for the VIPs, and gives up after 30 s;
    /// `arguments` come later on the command line and win.
    pub fn curl(&self, url: &str, arguments: &[&str]) -> Result<CurlOutcome, Error> {
        let mut command = self.namespace.command("curl");
        // -q, which has to be first: no configuration of the person who runs the tests.
        command.args(["-q", "--silent", "--show-error", "--max-time", "30", "--cacert"]).arg(&self.authority);
        let vips: Vec<_> = self.vips.iter().copied().map(literal).collect();
        for port in [80, 443] {
            command.args(["--resolve", &format!("{SERVICE_NAME}:{port}:{}", vips.join(","))]);
        }
        command.args(["--write-out", "%{stderr}\n%{http_code} %{time_total}"]).args(arguments).arg(url);
        let output = command::output(&mut command)?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let outcome = summary(&text).map(|(http_code, time_total, stderr)| CurlOutcome {
            exit: output.status.code().unwrap_or(-1),
            http_code,
            time_total,
            body: output.stdout,
            stderr,
        });
        outcome.ok_or_else(|| unreadable(&command, "no status and no time at its end", text))
    }

    /// The certificate that a TLS client is shown at this address. It is verified against the lab's authority;
    /// one that fails is an error.
    pub fn peer_certificate(&self, address: SocketAddr) -> Result<PeerCertificate, Error> {
        let mut client = self.namespace.command("openssl");
        client
            .args(["s_client", "-connect", &address.to_string(), "-servername", SERVICE_NAME])
            .args(["-verify_return_error", "-verify_hostname", SERVICE_NAME, "-CAfile"])
            .arg(&self.authority);
        let shown = command::success(&mut client)?;
        let mut reader = Command::new("openssl");
        reader.args([
            "x509",
            "-noout",
            "-subject",
            "-serial",
            "-ext",
            "subjectAltName",
            "-nameopt",
            "multiline",
        ]);
        let output = command::success_with_input(&mut reader, &shown.stdout)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        certificate(&text).ok_or_else(|| unreadable(&reader, "not a certificate's fields", text))
    }

    /// Pushes an image: `reference` is `10.77.0.10/library/a:1`, or with a name instead of the address, which stands for
    /// all of its addresses: `dtr.example.com` for the VIPs, `r1:443` for a replica's (without a port skopeo takes a
    /// name without a dot for something else). An image's reference has no form for an IPv6 address.
    ///
    /// skopeo retries by itself only with `--retry-times`, which is not given: a failure is the load balancer's.
    pub fn push(&self, image: &Image, reference: &str) -> Result<(), Error> {
        let mut command = self.skopeo("--dest-cert-dir");
        command.arg(image.reference()).arg(format!("docker://{reference}"));
        command::success(&mut command).map(drop)
    }

    /// Pulls an image into `path`, a directory that does not exist yet. Compare its digest with that of the one
    /// that was pushed: skopeo has verified every blob against it.
    pub fn pull(&self, reference: &str, path: &Path) -> Result<Image, Error> {
        let mut command = self.skopeo("--src-cert-dir");
        command.arg(format!("docker://{reference}")).arg(image::layout_reference(path));
        command::success(&mut command)?;
        Image::read(path)
    }

    /// Makes `total` short connections, `concurrency` at a time, each asking for `/whoami` over plain HTTP and
    /// each limited to 5 s, and counts the answers by replica.
    pub fn connections(&self, address: SocketAddr, total: usize, concurrency: usize) -> Result<Tally, Error> {
        self.namespace.run(|| load::connections(address, total, concurrency))
    }

    /// Starts asking for `/whoami` over plain HTTP, one new connection after the other with `pause` in between,
    /// each limited to `limit`, until the load is stopped.
    pub fn background_load(
        &self,
        address: SocketAddr,
        pause: Duration,
        limit: Duration,
    ) -> Result<BackgroundLoad, Error> {
        BackgroundLoad::start(&self.namespace, address, pause, limit)
    }

    /// Sends an echo request with `size` bytes of data and waits for the answer: how long it took, or `None` if there is
    /// none within `limit`.
    pub fn ping(&self, address: IpAddr, size: usize, limit: Duration) -> Result<Option<Duration>, Error> {
        // Who may use the kernel's ping sockets: nobody, until a group is named.
        self.namespace.sysctl("net.ipv4.ping_group_range", "0 0")?;
        self.namespace.run(|| ping::ping(address, size, limit))?.map_err(|source| Error::Namespace {
            namespace: self.namespace.name().to_owned(),
            doing: format!("ping {address}"),
            source,
        })
    }

    /// `skopeo copy`, with a digest that must not change on the way.
    fn skopeo(&self, authorities: &str) -> Command {
        // skopeo remembers under /var/lib which registry has which blob, and skips uploads by it; all labs have
        // the same addresses. The mounts are seen by skopeo only: `ip netns exec` made a mount namespace for it.
        let script = r#"mount -t tmpfs none /var/lib && mount --bind "$0" /etc/hosts && exec skopeo "$@""#;
        let mut command = self.namespace.command("sh");
        command
            .args(["-c", script])
            .arg(&self.hosts)
            .args(["--insecure-policy", "copy", "--preserve-digests", authorities])
            .arg(&self.authorities)
            .env("TMPDIR", &self.scratch)
            .env("HOME", &self.scratch)
            .env_remove("XDG_RUNTIME_DIR");
        command
    }
}

/// The status and the time that curl wrote at the end of its standard error, and what stands before them.
fn summary(stderr: &str) -> Option<(u16, Duration, String)> {
    let (complaints, last) = stderr.rsplit_once('\n')?;
    let (code, seconds) = last.split_once(' ')?;
    let time_total = Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?;
    Some((code.parse().ok()?, time_total, complaints.trim().to_owned()))
}

/// The fields in the output of `openssl x509 -subject -serial -ext subjectAltName -nameopt multiline`.
fn certificate(text: &str) -> Option<PeerCertificate> {
    let after = |key: &str, separator: char| {
        let line = text.lines().find(|line| line.trim_start().starts_with(key))?;
        Some(line.split_once(separator)?.1.trim().to_owned())
    };
    let names = text.lines().skip_while(|line| !line.contains("Subject Alternative Name")).nth(1)?;
    Some(PeerCertificate {
        common_name: after("commonName", '=')?,
        serial: after("serial=", '=')?,
        names: names.split(',').map(|name| name.trim().to_owned()).collect(),
    })
}

fn unreadable(command: &Command, why: &str, text: String) -> Error {
    Error::Unreadable {
        what: format!("the output of `{}`", command::line(command)),
        why: why.to_owned(),
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_found_behind_complaints() {
        let (code, time, complaints) = summary("curl: (7) no\nluck\n\n000 0.002500").unwrap();
        assert_eq!((code, time, complaints.as_str()), (0, Duration::from_micros(2500), "curl: (7) no\nluck"));
        let (code, _, complaints) = summary("\n200 0.1").unwrap();
        assert_eq!((code, complaints.as_str()), (200, ""));
        for broken in ["", "200 0.1", "\n200", "\nabc 0.1", "\n200 -1"] {
            assert!(summary(broken).is_none(), "{broken:?}");
        }
    }

    #[test]
    fn a_certificate_is_read_from_what_openssl_prints() {
        let text = "subject=\n    commonName                = r1\nserial=1F2E\n\
                    X509v3 Subject Alternative Name: \n    DNS:r1, IP Address:10.77.0.10\n";
        let want = PeerCertificate {
            common_name: "r1".to_owned(),
            serial: "1F2E".to_owned(),
            names: vec!["DNS:r1".to_owned(), "IP Address:10.77.0.10".to_owned()],
        };
        assert_eq!(certificate(text), Some(want));
        assert_eq!(certificate("serial=1F2E\n"), None);
    }
}
