//! In front of databases, and what else speaks TCP.

use super::{Case, Decides, Differs, Fault, LeftOut, Taken, check};

#[test]
fn galera_and_patroni_with_checks_at_another_port() {
    check(&Case {
        text: r"
defaults
  mode tcp
  timeout connect 5s
  timeout client 30m
  timeout server 30m
listen galera
  bind 10.1.0.5:3306
  balance source
  option httpchk
  default-server port 9200 inter 2s downinter 5s rise 3 fall 2
  server pxc1 10.1.0.11:3306 check
  server pxc2 10.1.0.12:3306 check backup
  server pxc3 10.1.0.13:3306 check backup on-marked-down shutdown-sessions
listen postgres
  bind 10.1.0.5:5000
  option httpchk OPTIONS /master
  http-check expect status 200
  server pg1 10.1.0.21:5432 maxconn 100 check port 8008
  server pg2 10.1.0.22:5432 maxconn 100 check port 8008
listen stats
  mode http
  bind :9000
  stats enable
  stats uri /
",
        config: &[
            "port = 9200",
            "port = 8008",
            "method = \"OPTIONS\"",
            "path = \"/master\"",
            "status = [\"200\"]",
            "backup = [\"pxc2\", \"pxc3\"]",
            "replica_port = 5432",
            "max_flows_per_replica = 100",
        ],
        not: &["9000"],
        rows: &[
            (8, Taken, "affinity"),
            (12, Differs, "one backup after the other"),
            (13, Differs, "on_down"),
            (18, Differs, "maxconn"),
            (20, Differs, "dashboard"),
        ],
        decides: false,
    });
}

#[test]
fn a_conversation_with_redis() {
    check(&Case {
        text: r#"
listen redis
  bind 10.1.0.5:6379
  mode tcp
  timeout client 1h
  timeout server 1h
  option tcp-check
  tcp-check connect
  tcp-check send "PING\r\n"
  tcp-check expect string +PONG
  tcp-check send info\ replication\r\n
  tcp-check expect ! string role:slave
  tcp-check expect rstring connected_slaves:[1-9] # and more
  tcp-check send-binary 515549540d0a
  tcp-check expect binary 2b4f4b
  server r1 10.1.0.31 check inter 1s
"#,
        config: &["scheme = \"tcp\"", "interval = \"1s\""],
        not: &["replica_port"],
        rows: &[(12, Differs, "behind"), (13, Taken, ""), (14, Taken, "")],
        decides: false,
    });
    let steps = super::of(
        "listen redis\n bind 10.1.0.5:6379\n option tcp-check\n tcp-check expect !string -ERR\n tcp-check expect rbinary ^2b..\n server a 10.1.0.1 check\n",
    );
    for step in ["{ expect = \"(?s-u).\" }", "{ reject = '\\-ERR' }", r"{ expect = '(?s-u)^\x2b.' }"] {
        assert!(steps.config.contains(step), "{step} is not in {}", steps.config);
    }
}

#[test]
fn checks_of_one_protocol() {
    for (option, parts) in [
        ("redis-check", &[r"\+PONG\r\n", "PING"][..]),
        ("smtpchk EHLO mail.example.com", &["EHLO mail.example.com", "QUIT"]),
        ("smtpchk", &["HELO localhost"]),
        ("pgsql-check user haproxy", &[r"(?s-u)^R\x00", "haproxy"]),
        ("mysql-check user haproxy post-41", &[r"(?s-u)^.{3}\x00\x0a"]),
        ("ldap-check", &["send_hex = \"300c020101600702010304008000\""]),
        ("ssl-hello-chk", &["scheme = \"tls\""]),
        ("spop-check", &["scheme = \"tcp\""]),
    ] {
        let import = super::of(&format!(
            "listen a\n bind 10.1.0.5:1000\n timeout client 1h\n timeout server 1h\n option {option}\n server a 10.1.0.1 check\n"
        ));
        for part in parts {
            assert!(import.config.contains(part), "{option}: {part} is not in {}", import.config);
        }
        assert!(!import.report.decides, "{option}: {:?}", import.report);
    }
}

#[test]
fn old_forms_ports_that_count_and_servers_that_follow() {
    check(&Case {
        text: r"
listen  legacy 10.0.0.1:8000-8002,10.0.0.2:8000
  mode tcp
  clitimeout 3600000
  srvtimeout 3600000
  contimeout 4000
  dispatch 10.2.0.1:9000
listen smtp
  bind 10.0.0.1:25
  server m1 10.3.0.1:+1000 check observe layer4 error-limit 5 on-error mark-down
  server m2 10.3.0.2:1025 track m1
  server m3 10.3.0.3:1025 disabled
  server m4 /run/x.sock
  server m5 10.3.0.1:1025 check nonsense 5
listen off
  bind 10.0.0.1:26
  disabled
  server m1 10.3.0.1 check
frontend nowhere
  bind 10.0.0.1:27
  default_backend missing
backend loner
  server m1 10.3.0.1 check
",
        config: &[
            "name = \"legacy-8002\"",
            "vip = [\"10.0.0.1\", \"10.0.0.2\"]",
            "replica_port = 9000",
            "replica_port = 1025",
            "max_fails = 5",
            "fail_timeout = \"30s\"",
            "weight = 0",
        ],
        not: &["10.0.0.1:26", "port = 27"],
        rows: &[
            (9, Differs, "observe"),
            (10, Differs, "another host"),
            (11, Differs, "weight = 0"),
            (12, Decides, "network"),
            (13, Decides, "`nonsense`"),
            (14, LeftOut, "disabled"),
            (17, LeftOut, "disabled"),
            (18, Decides, "no backend missing"),
            (20, Fault, "HAProxy refuses"),
            (21, LeftOut, "no frontend"),
        ],
        decides: true,
    });
}
