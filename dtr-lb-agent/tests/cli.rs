//! The binary's exit statuses and words, as far as they need no rights: 2 bad usage or config, 3 no agent running.
//!
//! That this test exists also makes a plain `cargo test` build the binary, which the scenarios run.

use std::{
    convert::Infallible,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

fn dtr_lb(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dtr-lb"))
        .args(arguments)
        .output()
        .expect("the binary was built with the test")
}

#[track_caller]
fn expect(output: &Output, status: i32, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{error}");
    for word in words {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
}

fn config(directory: &Path, text: &str) -> String {
    let path = directory.join("dtr-lb.toml");
    std::fs::write(&path, text).expect("the config can be written");
    path.to_str().expect("it is text").to_owned()
}

#[test]
fn bad_usage_is_2() {
    expect(&dtr_lb(&["frobnicate"]), 2, &["frobnicate"]);
    expect(&dtr_lb(&[]), 2, &["Usage"]);
}

#[test]
fn a_bad_config_is_2_and_names_file_line_and_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = config(directory.path(), "vip = \"10.0.0.10\"\ninterfaces = [\"eth0\"]\nweigth = 3\n");
    for command in ["check", "run"] {
        expect(&dtr_lb(&[command, "--config", &path]), 2, &["dtr-lb.toml:3:1", "weigth"]);
    }
    expect(
        &dtr_lb(&["check", "--config", "/nonexistent/dtr-lb.toml"]),
        2,
        &["/nonexistent/dtr-lb.toml", "--config"],
    );
}

#[test]
fn a_config_is_a_file_or_options_and_both_is_2() {
    let short = ["--vip", "10.0.0.10", "--replica", "10.0.0.11"];
    for command in ["run", "check"] {
        let with = |more: &[&str]| dtr_lb(&[&[command][..], &short, more].concat());
        expect(
            &with(&["--config", "/nonexistent/dtr-lb.toml"]),
            2,
            &["/nonexistent/dtr-lb.toml", "leave out one"],
        );
        expect(&with(&["--port", "0"]), 2, &["--port 0: ", "between 1 and 65535"]);
        expect(&dtr_lb(&[command, "--vip", "10.0.0.10"]), 2, &["--replica is missing"]);
        expect(&dtr_lb(&[command, "--preset", "harbor"]), 2, &["--preset", "--vip and --replica"]);
    }
}

#[test]
fn variables_stand_for_options() {
    let checked = |variables: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dtr-lb"));
        command.arg("check").envs(variables.iter().copied()).output().expect("the binary")
    };
    let vip = ("DTR_LB_VIP", "10.0.0.10");
    expect(&checked(&[vip, ("DTR_LB_REPLICAS", "10.0.0.11,b=10.0.0.11")]), 2, &["--replica b=10.0.0.11: "]);
    let both = [vip, ("DTR_LB_REPLICAS", "10.0.0.11"), ("DTR_LB_CONFIG", "/nonexistent/x.toml")];
    expect(&checked(&both), 2, &["/nonexistent/x.toml", "DTR_LB_VIP"]);
    expect(&checked(&[("DTR_LB_CONFIG", "/nonexistent/x.toml")]), 2, &["/nonexistent/x.toml"]);
    let set = [vip, ("DTR_LB_REPLICAS", "10.0.0.11"), ("DTR_LB_SET", "datapath.attach=tc\nhost=a b\n")];
    expect(&checked(&set), 2, &["--set host=a b"]);
    let output = Command::new(env!("CARGO_BIN_EXE_dtr-lb"))
        .args(["status"])
        .env("DTR_LB_SOCKET", "/nonexistent/from-the-variable.sock")
        .output()
        .expect("the binary");
    expect(&output, 3, &["from-the-variable.sock"]);
}

#[test]
fn init_prints_a_config_that_check_takes() {
    let directory = tempfile::tempdir().expect("a directory");
    for options in [
        &["init"][..],
        &["init", "--all"],
        &["init", "--vip", "10.0.0.10", "--replica", "a=10.0.0.11", "--preset", "harbor"],
    ] {
        let printed = dtr_lb(options);
        assert!(printed.status.success(), "{printed:?}");
        let text = String::from_utf8(printed.stdout).expect("text");
        let path = config(directory.path(), &text);
        let checked = dtr_lb(&["check", "--config", &path]);
        assert_ne!(checked.status.code(), Some(2), "{checked:?}\n{text}");
        assert!(String::from_utf8_lossy(&checked.stdout).contains("valid"), "{checked:?}");
    }
    let every_key = String::from_utf8(dtr_lb(&["init", "--all"]).stdout).expect("text");
    assert_eq!(every_key, include_str!("../../examples/dtr-lb.toml"));
    expect(&dtr_lb(&["init", "--vip", "x"]), 2, &["--vip x: "]);
    expect(&dtr_lb(&["init", "--all", "--vip", "10.0.0.10"]), 2, &["--all"]);
}

#[test]
fn without_an_agent_status_is_3_and_says_what_to_do() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("none.sock");
    let socket = socket.to_str().expect("it is text");
    expect(&dtr_lb(&["status", "--socket", socket]), 3, &[socket, "dtr-lb run"]);
}

#[test]
fn without_an_agent_nothing_can_be_looked_at() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("none.sock");
    let socket = socket.to_str().expect("it is text");
    let capture = directory.path().join("trace.pcapng");
    let capture = capture.to_str().expect("it is text");
    for command in [
        &["flows"][..],
        &["flows", "--top", "bytes"],
        &["flows", "--top", "age", "5", "--replica", "r1"],
        &["flows", "--follow", "--service", "https", "--json"],
        &["flows", "--client", "10.0.0.5", "--state", "established", "--json"],
        &["explain", "10.0.0.5", "10.0.0.10:443"],
        &["trace", "--for", "5s", "--verdict", "dropped"],
        &["trace", "--pcap", capture],
    ] {
        expect(&dtr_lb(&[command, &["--socket", socket]].concat()), 3, &[socket, "dtr-lb run"]);
    }
    assert!(!Path::new(capture).exists(), "a file was written for a trace that did not begin");
}

#[test]
fn what_cannot_be_looked_for_is_bad_usage() {
    let cases = [
        (&["flows", "--client", "10.0.0.5/8"][..], "is it 10.0.0.0/8?"),
        (&["flows", "--state", "open"], "client_closed"),
        (&["flows", "--limit", "1000000"], "100000"),
        (&["flows", "--top", "size"], "bytes, packets, age"),
        (&["flows", "--top", "bytes", "1000000"], "100000"),
        (&["flows", "--follow", "--state", "closed"], "--state"),
        (&["explain", "10.0.0.5"], "<DST:PORT>"),
        (&["explain", "dtr.example.com", "10.0.0.10:443"], "`dtr.example.com` is no client"),
        (&["explain", "10.0.0.5", "10.0.0.10"], "`10.0.0.10` is no end of a service"),
        (&["explain", "10.0.0.5", "[2001:db8::10]:443"], "different families"),
        (&["trace", "--verdict", "drop"], "dropped"),
        (&["trace", "--for", "2d"], "1 to 3600 seconds"),
        (&["trace", "--count", "0"], "0"),
        (&["trace", "--json", "--pcap", "-"], "--pcap"),
        (&["trace", "--snap", "100"], "--pcap"),
        (&["trace", "--pcap", "-", "--snap", "4000"], "2048"),
    ];
    for (command, word) in cases {
        expect(&dtr_lb(&[command, &["--socket", "/nonexistent"]].concat()), 2, &[word]);
    }
}

#[test]
fn detach_without_an_agent_removes_what_one_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let kept = directory.path().join("dtr-lb.changes.json");
    std::fs::write(&kept, "{}").expect("the file can be written");
    let text = format!(
        "[agent]\nsocket = \"{0}/dtr-lb.sock\"\nbpffs = \"{0}/bpffs/none\"\n",
        directory.path().display()
    );
    let path = config(directory.path(), &text);
    let output = dtr_lb(&["detach", "--config", &path]);
    assert!(output.status.success(), "{output:?}");
    assert!(!kept.exists(), "the next agent would take up changes of a datapath that is gone");
}

#[test]
fn the_version_is_the_packages() {
    let version = format!("dtr-lb {}", env!("CARGO_PKG_VERSION"));
    let short = dtr_lb(&["-V"]);
    assert!(short.status.success());
    assert_eq!(String::from_utf8_lossy(&short.stdout).trim(), version);
    let long = dtr_lb(&["--version"]);
    let long = String::from_utf8_lossy(&long.stdout);
    assert!(long.starts_with(&version) && long.contains("eBPF object built by"), "{long}");
}

#[test]
fn top_without_a_terminal_is_2_and_names_what_needs_none() {
    expect(&dtr_lb(&["top"]), 2, &["needs a terminal", "dtr-lb status"]);
}

#[test]
fn whether_it_is_able_to_serve_is_3_without_an_agent() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("none.sock");
    let socket = socket.to_str().expect("it is text");
    expect(&dtr_lb(&["status", "--healthy", "--socket", socket]), 3, &[socket]);
}

/// An agent that tells of a trace without end, as fast as it can.
fn endless_trace(socket: &Path) {
    let listener = UnixListener::bind(socket).expect("a socket");
    thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(tell_without_end(stream))));
}

fn tell_without_end(mut stream: UnixStream) -> io::Result<Infallible> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while !lines.next().ok_or(io::ErrorKind::UnexpectedEof)??.is_empty() {}
    let begin =
        r#"{"begin":{"hook":"xdp","interfaces":["eth0"],"seconds":60,"count":0,"services_only":true}}"#;
    let chunk = format!("{:x}\r\n{begin}\n\r\n", begin.len() + 1);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes())?;
    loop {
        stream.write_all(chunk.as_bytes())?;
    }
}

#[test]
fn ctrl_c_ends_a_trace_that_never_pauses() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("agent.sock");
    endless_trace(&socket);
    let mut trace = Command::new(env!("CARGO_BIN_EXE_dtr-lb"));
    trace.arg("trace").arg("--socket").arg(&socket).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut trace = trace.spawn().expect("the binary was built with the test");
    let mut said = BufReader::new(trace.stderr.take().expect("a pipe"));
    let mut line = String::new();
    said.read_line(&mut line).expect("its first line");
    assert!(line.contains("tracing eth0"), "{line}");
    // What it says is read, or it would wait for that.
    thread::spawn(move || said.lines().for_each(drop));
    kill(Pid::from_raw(trace.id().cast_signed()), Signal::SIGINT).expect("it runs");
    let limit = Instant::now() + Duration::from_secs(10);
    let status = loop {
        match trace.try_wait().expect("a child") {
            None if Instant::now() < limit => thread::sleep(Duration::from_millis(5)),
            status => break status,
        }
    };
    if status.is_none() {
        trace.kill().expect("it can be ended");
        trace.wait().expect("it ends");
    }
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}
