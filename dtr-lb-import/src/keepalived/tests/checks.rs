//! How servers are checked.

use crate::{Given, expected};

/// A virtual server with such a check, and its probe and the rows that are expected.
fn probe(port: u16, check: &str, probe: &str, rows: &[&str]) {
    let text = format!(
        "virtual_server 10.0.0.9 {port} {{\nlb_algo wrr\nlb_kind NAT\ndelay_loop 10\nvirtualhost reg.example.com\n\
         real_server 10.0.0.1 {port} {{\n{check}\n}}\n}}\nvirtual_server 10.0.0.9 80 {{\nlb_algo wrr\nlb_kind NAT\n\
         real_server 10.0.0.1 80 {{\nTCP_CHECK {{\n}}\n}}\n}}\n"
    );
    let import = expected::read(&[("k", &text)], &Given::default());
    let config = expected::bare(&import.config);
    let start = config.find("[service.probe]\n").unwrap() + "[service.probe]\n".len();
    let length = config[start..].find("\n[").unwrap();
    let expected: Vec<_> = probe.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(config[start..start + length], expected.join("\n"), "{text}\n{:#?}", import.report);
    expected::hold(&import.report, rows);
    expected::accounted(&import.report, "k", &text);
}

#[test]
fn https_with_everything() {
    probe(
        8443,
        "SSL_GET {
            connect_port 9443
            bindto 10.0.0.7
            http_protocol 1.0
            enable_sni
            alpha
            warmup 0
            retry 2
            url {
                path /v2/
                status_code 200-299 401
                virtualhost \"other.example.com\"
                regex \"\\\\{\\\\}\"
                regex_options caseless dotall never_ucp
            }
            url {
                path /health
                digest 9b3a0c85a887a256d6939da88aabd8cd
            }
        }",
        r#"
        scheme = "https"
        port = 9443
        path = "/v2/"
        host = "other.example.com"
        status = ["200-299", "401"]
        body = '(?is)\{\}'
        interval = "10s"
        fast_interval = "3s"
        timeout = "5s"
        rise = 1
        fall = 3
        "#,
        &[
            "out 9 dtr-lb probes from the address",
            "differs 10 HTTP/1.1",
            "differs 13 jitter",
            "differs 20 no option never_ucp",
            "differs 22 it asks the first url (k:15)",
            "out 24 of a url that is not asked",
        ],
    );
}

#[test]
fn digests_negations_and_ports_that_do_not_fit() {
    probe(
        443,
        "HTTP_GET {\n url {\n path /\n digest 9b3a\n regex broken\n regex_no_match\n }\n nb_get_retry 1\n delay_before_retry 0.5\n connect_timeout 20\n}",
        r#"
        scheme = "http"
        path = "/"
        host = "reg.example.com"
        status = ["200-299"]
        reject_body = "broken"
        interval = "10s"
        fast_interval = "500ms"
        timeout = "20s"
        rise = 1
        fall = 2
        "#,
        &[
            "fault 7 plain HTTP is asked at port 443",
            "out! 10 service.probe.body",
            "fault 7 longer than from one to the next",
        ],
    );
}

#[test]
fn commands() {
    probe(
        25,
        "MISC_CHECK {\n misc_path \"/usr/lib/nagios/check_http -u https://10.0.0.1/health\"\n misc_timeout 4\n misc_dynamic\n user nobody\n}",
        "scheme = \"tcp\"\ninterval = \"10s\"\ntimeout = \"4s\"\nrise = 1\nfall = 1",
        &[
            "out! 7 dtr-lb runs no commands",
            "out! 8 write what this one asks (https://10.0.0.1/health)",
            "taken 9 timeout",
            "out! 10 agent_port",
            "out 11 dtr-lb runs no commands",
        ],
    );
    probe(
        25,
        "MISC_CHECK {\n misc_path /bin/true\n}",
        "scheme = \"tcp\"\ninterval = \"10s\"\ntimeout = \"5s\"\nrise = 1\nfall = 1",
        &["fault! 7 cannot fail", "fault! 8 cannot fail"],
    );
}

#[test]
fn mail_pings_and_what_cannot_be_asked() {
    probe(
        25,
        "PING_CHECK {\n}\nSMTP_CHECK {\n host {\n connect_port 2525\n }\n helo_name lb.example.com\n}\nBFD_CHECK {\n name a\n}",
        "scheme = \"tcp\"\nport = 2525\nsteps = [{ expect = \"^220\" }]\ninterval = \"10s\"\nfast_interval = \"1s\"\ntimeout = \"5s\"\nrise = 1\nfall = 2",
        &[
            "differs 7 asks as SMTP_CHECK does",
            "differs 9 greeting",
            "differs 13 says nothing itself",
            "out! 15 BFD_CHECK is not asked",
            "out 16 of a check that is not made",
        ],
    );
    for (kind, why) in
        [("UDP_CHECK", "nothing by UDP"), ("FILE_CHECK", "does not watch files"), ("BFD_CHECK", "no BFD")]
    {
        probe(
            25,
            &format!("{kind} {{\n}}"),
            "scheme = \"tcp\"\ninterval = \"10s\"\nfast_interval = \"1s\"\ntimeout = \"5s\"\nrise = 1\nfall = 2",
            &[&format!("out! 7 {why}")],
        );
    }
}

#[test]
fn quorum_announcements_and_certificates() {
    let text = "SSL {
    ca /etc/ca.pem
    certificate /etc/lb.pem
    key /etc/lb.key
}
virtual_server 10.0.0.9 80 {
    lb_algo rr
    lb_kind NAT
    quorum 2
    hysteresis 1
    quorum_up \"/usr/sbin/ip addr add 10.0.0.9/32 dev lo\"
    quorum_down \"/bin/mail\"
    sorry_server 10.0.0.3 80
    omega
    ops
    frobnicate
    real_server 10.0.0.1 80 {
        TCP_CHECK {
            connect_ip 10.9.9.9
        }
        lthreshold 5
    }
    include servers.d/*.conf
}
";
    let import = expected::read(&[("k", text)], &Given::default());
    expected::hold(
        &import.report,
        &[
            "out 2 service.probe.verify",
            "out! 3 show no certificate",
            "out! 4 show no certificate",
            "out! 9 not 2 of weight",
            "out 10 quorum",
            "out! 11 dtr-lb ha bird",
            "out 12 runs no commands",
            "out 14 forwarding",
            "out 15 UDP",
            "out! 16 does not know \"frobnicate\"",
            "out! 19 at its address",
            "differs 21 one less than",
            "out! 23 give those files as well",
        ],
    );
}
