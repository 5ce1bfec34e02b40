//! Who is let in, and how often.

use super::{Case, Decides, Differs, Fault, LeftOut, Taken, check};

#[test]
fn the_first_rule_that_fits_decides() {
    check(&Case {
        text: r"
defaults
   mode tcp
   timeout client 20m
   timeout server 20m
frontend fe
   bind 10.0.0.100:443
   acl office src 10.0.0.0/8 192.168.0.0/255.255.0.0
   acl bad src 10.6.6.6
   acl unused src 10.6.6.7
   tcp-request connection reject if bad
   tcp-request connection accept if office
   tcp-request connection reject
   default_backend be
backend be
   stick-table type ip size 200k expire 30m peers p
   stick on src
   server s1 10.0.1.1:443 check
",
        config: &[
            "allow = [\"10.0.0.0/8\", \"192.168.0.0/16\"]",
            "deny = [\"10.6.6.6/32\", \"0.0.0.0/0\", \"::/0\"]",
            "denied = \"reset\"",
            "affinity = \"source-ip\"",
            "affinity_timeout = \"30m\"",
        ],
        not: &[],
        rows: &[
            (7, Taken, ""),
            (9, LeftOut, "no rule uses it"),
            (10, Taken, "allow and deny"),
            (12, Taken, "allow and deny"),
            (15, Differs, "[ha]"),
            (16, Taken, "affinity"),
        ],
        decides: false,
    });
}

#[test]
fn several_rulesets_rates_and_what_is_not_known() {
    check(&Case {
        text: r"
defaults
   mode tcp
   timeout client 20m
   timeout server 20m
   default_backend be
frontend two
   bind 10.0.0.100:443
   tcp-request connection silent-drop unless { src 10.0.0.0/8 2001:db8::/32 }
   tcp-request content reject if { src 10.128.0.0/9 } !{ src 10.200.0.0/16 }
   stick-table type ip size 100k expire 30s store gpc0,conn_rate(1s)
   tcp-request connection track-sc0 src
   tcp-request connection reject if { sc_conn_rate(0) gt 20 }
frontend unknown
   bind 10.0.0.100:80
   tcp-request connection reject if { src -f /etc/haproxy/black.lst }
   tcp-request connection reject if { src 10.9.9.9 }
   tcp-request content accept if { req.ssl_sni a }
   tcp-request content reject
frontend slow
   bind 10.0.0.100:81
   stick-table type ip size 1m expire 10s store conn_rate(10s)
   tcp-request connection track-sc0 src
   tcp-request connection reject if { src_conn_rate gt 100 }
   tcp-request connection expect-proxy layer4 if { src 10.0.0.1 }
   http-request deny if { src 10.1.1.1 }
backend be
   stick-table type string size 1m
   stick on dst
   stick on src table nothing
   server s1 10.0.1.1:443 check
",
        config: &[
            "deny = [\"10.9.9.9/32\"]",
            "allow = [\"10.0.0.0/9\", \"10.200.0.0/16\", \"2001:db8::/32\"]",
            "deny = [\"0.0.0.0/0\", \"::/0\"]",
            "max_new_flows_per_source = 20",
        ],
        not: &["max_new_flows_per_source = 10"],
        rows: &[
            (8, Taken, "allow and deny"),
            (10, Taken, "max_new_flows"),
            (11, Differs, "counts"),
            (12, Taken, "max_new_flows"),
            (15, Decides, "black.lst"),
            (16, Taken, "allow and deny"),
            (17, Decides, "TLS"),
            (18, Decides, "haproxy.cfg:17"),
            (21, LeftOut, "left out"),
            (23, Decides, "max_new_flows_per_source = 10"),
            (24, Decides, "PROXY"),
            (25, LeftOut, "mode http"),
            (27, LeftOut, "no rule"),
            (28, Decides, "backup"),
            (29, Fault, "no such stick table"),
        ],
        decides: true,
    });
}
