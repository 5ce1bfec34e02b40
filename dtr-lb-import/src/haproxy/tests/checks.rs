//! What servers are asked.

use super::{Decides, Differs, Fault, List, Taken, of, row};

/// A backend with these lines, its server with these options, and what is expected.
fn backend(lines: &str, options: &str, config: &[&str], rows: &[(usize, List, &str)]) {
    let text = format!(
        "defaults\n timeout client 1h\n timeout server 1h\nlisten a\n bind 10.0.0.100:1000\n server a 10.0.0.1:443 {options}\n{lines}\n"
    );
    let import = of(&text);
    for part in config {
        assert!(import.config.contains(part), "{part} is not in {}", import.config);
    }
    for (line, list, why) in rows {
        let (is, row) = row(&import.report, *line);
        let fits = is == *list || (*list == Decides && row.decides);
        assert!(fits && row.why.contains(why), "{text}: line {line}: {is:?} {row:?}");
    }
}

#[test]
fn requests() {
    let options = "check check-ssl verify none";
    backend(
        "option httpchk /health",
        options,
        &["method = \"OPTIONS\"", "path = \"/health\""],
        &[(7, Taken, "")],
    );
    backend("option httpchk GET", options, &["path = \"/\""], &[(7, Fault, "path")]);
    backend("option httpchk get /", options, &["path = \"/\""], &[(7, Fault, "upper case")]);
    backend(
        r"option httpchk GET / HTTP/1.1\r\nHost: a.example.com",
        options,
        &["host = \"a.example.com\""],
        &[(7, Fault, "backslash")],
    );
    backend(
        r"option httpchk POST /a?b=c HTTP/1.0\r\nHost:\ a.example.com:443\r\nX-A:\ 1\r\nConnection:\ close\r\n\r\nbody",
        options,
        &[
            "method = \"POST\"",
            "path = \"/a?b=c\"",
            "host = \"a.example.com\"",
            "headers = [\"X-A: 1\"]",
            "request_body = \"body\"",
        ],
        &[(7, Taken, "")],
    );
    backend(
        "option httpchk\nhttp-check connect port 8443 ssl sni b.example.com alpn http/1.1\nhttp-check send meth PUT uri /x hdr Host c.example.com hdr X-N %[srv_name] body '{\"a\":1}'\n\
         http-check expect status 200-204,301\nhttp-check connect port 80\nhttp-check send uri /y\nhttp-check expect status 500",
        "check verify none",
        &[
            "port = 8443",
            "scheme = \"https\"",
            "method = \"PUT\"",
            "host = \"c.example.com\"",
            "status = [\"200-204\", \"301\"]",
            "alpn",
        ],
        &[
            (6, Differs, "b.example.com"),
            (9, Decides, "X-N"),
            (11, Decides, "one thing"),
            (13, Decides, "one thing"),
        ],
    );
}

#[test]
fn answers() {
    let expect = |rule: &str, config: &[&str], rows: &[(usize, List, &str)]| {
        backend(&format!("option httpchk GET /\n{rule}"), "check", config, rows);
    };
    expect("", &["status = [\"200-399\"]"], &[]);
    expect("http-check expect string all.well", &["status = [\"100-599\"]", "body = 'all\\.well'"], &[]);
    expect(r#"http-check expect rstring {\"ok\":"#, &[r#"body = '\{"ok":'"#], &[]);
    expect(
        "http-check expect ! string a\nhttp-check expect ! rstring b|c",
        &["reject_body = \"(?:a)|(?:b|c)\""],
        &[],
    );
    expect(
        "http-check expect comment 'x y' min-recv 5 status 200\nhttp-check expect string a",
        &["status = [\"200\"]", "body = \"a\""],
        &[],
    );
    expect("http-check expect !status 500-599", &["status = [\"100-499\"]"], &[]);
    expect(
        "http-check expect string a\nhttp-check expect string b",
        &["body = \"a\""],
        &[(9, Decides, "one thing")],
    );
    expect(
        "http-check expect hdr name X-A value -m beg b",
        &[r"expect_headers = ['X-A: (?:^|,)[ \t]*b']"],
        &[],
    );
    expect(
        "http-check expect ! fhdr name x-state value down",
        &["reject_headers = [\"x-state: ^down$\"]"],
        &[],
    );
    expect("http-check expect hdr name -m beg X-", &[], &[(8, Decides, "whole name")]);
    expect("http-check expect rstatus (?=2)", &[], &[(8, Decides, "regular expression")]);
    expect("http-check expect status ok", &[], &[(8, Decides, "status codes")]);
    expect("http-check expect", &[], &[(8, Decides, "nothing to expect")]);
    expect("http-check expect status 700", &["status = [\"200-399\"]"], &[(7, Decides, "no status code")]);
}

#[test]
fn servers_and_their_options() {
    backend(
        "",
        "check inter 5000 fastinter 1s downinter 1m rise 1 fall 5",
        &["interval = \"5s\"", "fast_interval = \"1s\"", "down_interval = \"1m\"", "rise = 1", "fall = 5"],
        &[],
    );
    backend("timeout check 1s", "check", &["timeout = \"1s\"", "interval = \"2s\""], &[]);
    backend(
        "",
        "check agent-check agent-port 8000 agent-inter 5s agent-send x",
        &["agent_port = 8000"],
        &[(6, Differs, "agent")],
    );
    backend(
        "",
        "agent-check agent-port 8000",
        &["agent_port = 8000", "scheme = \"tcp\""],
        &[(6, Differs, "agent")],
    );
    backend("", "check addr 10.0.0.9 port 80", &["scheme = \"tcp\"", "port = 80"], &[(6, Differs, "itself")]);
    backend("option httpchk", "", &["asks nothing"], &[(7, Fault, "`check`")]);
    backend("tcp-check send a", "check", &["scheme = \"tcp\""], &[(7, Fault, "`option tcp-check`")]);
    backend(
        "option external-check\nexternal-check command /bin/true",
        "check",
        &["scheme = \"tcp\""],
        &[(7, Decides, "commands"), (8, Decides, "commands")],
    );
    backend(
        "option tcp-check\ntcp-check connect\ntcp-check connect port 5\ntcp-check send-lf %[x]",
        "check",
        &["scheme = \"tcp\""],
        &[(9, Decides, "second"), (10, Decides, "second")],
    );
    backend("source 0.0.0.0 usesrc clientip", "check", &["mode = \"dnat\""], &[(7, Taken, "dnat")]);
}
