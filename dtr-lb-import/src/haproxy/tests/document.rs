//! The sample of DTR's documentation, its placeholders filled in.

use super::{Case, Differs, Fault, Taken, check, of, row};

const SAMPLE: &str = r"
global
    log /dev/log    local0
    log /dev/log    local1 notice

defaults
        mode    tcp
        option  dontlognull
        timeout connect 5000
        timeout client 50000
        timeout server 50000
### frontends
# Optional HAProxy Stats Page accessible at http://<host-ip>:8181/haproxy?stats
frontend dtr_stats
        mode http
        bind 0.0.0.0:8181
        default_backend dtr_stats
frontend dtr_80
        mode tcp
        bind 0.0.0.0:80
        default_backend dtr_upstream_servers_80
frontend dtr_443
        mode tcp
        bind 0.0.0.0:443
        default_backend dtr_upstream_servers_443
### backends
backend dtr_stats
        mode http
        option httplog
        stats enable
        stats admin if TRUE
        stats refresh 5m
backend dtr_upstream_servers_80
        mode tcp
        option httpchk GET /health HTTP/1.1\r\nHost:\ dtr.example.com
        server node01 10.0.0.11:80 check weight 100
        server node02 10.0.0.12:80 check weight 100
        server node03 10.0.0.13:80 check weight 100
backend dtr_upstream_servers_443
        mode tcp
        option httpchk GET /health HTTP/1.1\r\nHost:\ dtr.example.com
        server node01 10.0.0.11:443 weight 100 check ssl verify none
        server node02 10.0.0.12:443 weight 100 check ssl verify none
        server node03 10.0.0.13:443 weight 100 check ssl verify none
";

#[test]
fn the_sample_works_and_its_faults_are_told() {
    check(&Case {
        text: SAMPLE,
        config: &[
            "name = \"dtr_80\"",
            "name = \"dtr_443\"",
            "scheme = \"http\"",
            "scheme = \"https\"",
            "path = \"/health\"",
            "host = \"dtr.example.com\"",
            "status = [\"200-399\"]",
            "replicas = [\"node01\", \"node02\", \"node03\"]",
            "interval = \"2s\"",
            "timeout = \"2s\"",
            "rise = 2",
            "fall = 3",
        ],
        not: &["8181", "idle_timeout", "verify", "weight", "dtr_stats"],
        rows: &[
            (1, Taken, ""),
            (2, Differs, "journal"),
            (9, Fault, "50s"),
            (13, Differs, "dashboard"),
            (29, Differs, "dashboard"),
            (34, Taken, "HTTP/1.1"),
            (41, Fault, "TLS within TLS"),
            (43, Fault, "TLS within TLS"),
        ],
        decides: false,
    });
}

#[test]
fn its_placeholders_have_to_be_filled_in() {
    let text = SAMPLE.replace("10.0.0.11", "<DTR_REPLICA_1_IP>").replace("dtr.example.com", "<DTR_FQDN>");
    let import = of(&text);
    assert!(import.report.decides);
    let (_, server) = row(&import.report, 36);
    assert!(server.decides && server.why.contains("<DTR_REPLICA_1_IP>"), "{server:?}");
    assert!(import.config.contains("stands in for <DTR_REPLICA_1_IP>"), "{}", import.config);
}

#[test]
fn with_check_ssl_and_a_tunnel_it_has_no_faults() {
    let text = SAMPLE.replace("check ssl", "check check-ssl").replace(
        "timeout server 50000",
        "timeout server 50000\n        timeout tunnel 1h\n        timeout client-fin 50s",
    );
    let import = of(&text);
    assert!(import.report.faults.is_empty(), "{:?}", import.report.faults);
    assert!(import.config.contains("scheme = \"https\""));
    assert!(import.config.contains("idle_timeout = \"1h\""), "{}", import.config);
}
