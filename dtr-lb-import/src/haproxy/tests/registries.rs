//! In front of registries.

use super::{Case, Decides, Differs, Fault, LeftOut, Taken, check};

#[test]
fn msr_with_all_that_the_later_documentation_says() {
    check(&Case {
        text: "
global
\tmaxconn 2000
\tstats socket /run/haproxy/admin.sock mode 660 level admin
\tca-base /etc/ssl/private
defaults
\tmode tcp
\ttimeout connect 5s
\ttimeout client 50s
\ttimeout server 50s
\ttimeout tunnel 1h
\ttimeout client-fin 50s
frontend msr_443
\tbind :::443 v4v6
\tdefault_backend msr
frontend msr_80
\tbind :::80 v4v6
\tdefault_backend msr_plain
backend msr
\toption httpchk
\thttp-check send meth GET uri /_ping ver HTTP/1.1 hdr Host msr.example.com hdr X-From lb
\thttp-check expect ! rstatus ^5
\thttp-check disable-on-404
\tdefault-server check check-ssl verify required ca-file msr.pem check-sni msr.example.com
\tserver msr1 10.0.0.11:443
\tserver msr2 10.0.0.12:443 no-check
backend msr_plain
\tserver msr1 10.0.0.11:80 check
\tserver msr2 10.0.0.12:80 check
",
        config: &[
            "scheme = \"https\"",
            "path = \"/_ping\"",
            "host = \"msr.example.com\"",
            "headers = [\"X-From: lb\"]",
            "status = [\"100-403\", \"405-499\"]",
            "verify = \"/etc/ssl/private/msr.pem\"",
            "idle_timeout = \"1h\"",
        ],
        not: &["method", "cannot fail"],
        rows: &[
            (2, Differs, "max_flows"),
            (4, Taken, ""),
            (8, Taken, "tunnel"),
            (11, Differs, "half"),
            (22, Differs, "404"),
            (23, Taken, ""),
            (24, Taken, ""),
            (25, Differs, "not checked"),
        ],
        decides: false,
    });
}

#[test]
fn harbor_behind_sni_routing() {
    check(&Case {
        text: r"
defaults
  mode tcp
  timeout client 1h
  timeout server 1h
frontend tls
  bind 10.0.0.100:443
  tcp-request inspect-delay 5s
  tcp-request content accept if { req_ssl_hello_type 1 }
  acl is_harbor req_ssl_sni -i harbor.example.com
  acl is_b req.ssl_sni -m end .b.example.com
  use_backend harbor if is_harbor
  use_backend b if is_b
  use_backend bk_%[req.ssl_sni,lower] if { req.ssl_sni -m found }
  default_backend harbor
backend harbor
  server a1 10.0.0.1:443 check
  server a2 10.0.0.2:443 check
backend b
  server b1 10.0.0.3:443 check
frontend http
  bind 10.0.0.100:80
  mode http
  redirect scheme https code 301 if !{ ssl_fc }
",
        config: &["replicas = [\"a1\", \"a2\"]"],
        not: &["b1", "port = 80"],
        rows: &[
            (7, Differs, "content"),
            (8, Differs, "keeps anyone out"),
            (9, Taken, ""),
            (10, Decides, "TLS"),
            (11, Taken, ""),
            (12, Decides, "all clients go to harbor"),
            (13, Decides, "TLS"),
            (18, Decides, "rules"),
            (19, LeftOut, "rules"),
            (20, Decides, "no service"),
            (21, Decides, "nobody is served"),
            (23, Decides, "https://"),
        ],
        decides: true,
    });
}

#[test]
fn one_use_backend_and_no_default() {
    check(&Case {
        text: r"
frontend tls
  bind 10.0.0.100:443
  timeout client 1h
  use_backend registry if { req.ssl_hello_type 1 }
backend registry
  timeout server 1h
  server a 10.0.0.1:443 check
frontend plain
  bind 10.0.0.100:80
  timeout client 1h
  use_backend registry80 unless FALSE
backend registry80
  timeout server 1h
  server a 10.0.0.1:80 check
frontend other
  bind 10.0.0.100:81
  timeout client 1h
  use_backend registry80
",
        config: &["port = 443", "port = 80", "port = 81"],
        not: &[],
        rows: &[(4, Decides, "all clients go there"), (18, Taken, "")],
        decides: true,
    });
}

#[test]
fn environment_quotes_carriage_returns_and_conditions() {
    let text = "global\r\n  daemon\r\n  presetenv VIP 10.0.0.100\r\n  setenv PORT \"443\"\r\ndefaults base\r\n\tmode tcp\r\n\
                \ttimeout client 1h\r\n\ttimeout server 2h\r\ndefaults unused from base\r\n  mode http\r\n\
                .if feature(OPENSSL)\r\nfrontend x\r\n  bind :1\r\n.else\r\n  option tcplog\r\n.endif\r\n\
                frontend registry from base\r\n  bind \"${VIP}:${PORT}\" name a interface eth0\r\n  bind \"${OTHER-10.0.0.101}:443\"\r\n\
                \x20 default_backend reg\r\nbackend reg from base\r\n  server-template r 1-3 registry.service.consul:5000 check resolvers consul init-addr none\r\n\
                \x20 server 'b' \"[2001:db8::1]:5000\" check backup # comment\r\n  bogus keyword here\r\n.endif\r\n.notice \"hello\"\r\n\
                peers p\r\n  peer a 10.0.0.1:1024\r\nuserlist u\r\n  user a password b\r\nlog-forward f\r\n  dgram-bind :514\r\n.if 1\r\n  server z 10.0.0.9\r\n";
    check(&Case {
        text: Box::leak(text.to_owned().into_boxed_str()),
        config: &[
            "vip = [\"10.0.0.100\", \"10.0.0.101\"]",
            "port = 443",
            "address = \"registry.service.consul\"",
            "address = \"2001:db8::1\"",
            "backup = [\"b\"]",
            "idle_timeout = \"1h\"",
        ],
        not: &["port = 1\n"],
        rows: &[
            (3, Taken, ""),
            (9, LeftOut, "no proxy"),
            (10, LeftOut, "no proxy"),
            (11, Decides, "conditions"),
            (13, Decides, "line 11"),
            (15, LeftOut, "line 11"),
            (16, LeftOut, ""),
            (18, Differs, "interfaces"),
            (19, Differs, "OTHER"),
            (22, Differs, "resolver"),
            (23, Taken, ""),
            (24, Decides, "does not know"),
            (25, Fault, "`.if`"),
            (26, LeftOut, ""),
            (28, Differs, "[ha]"),
            (30, LeftOut, "password"),
            (31, Decides, "syslog"),
            (33, Decides, "`.endif`"),
            (34, Decides, "line 33"),
        ],
        decides: true,
    });
}

#[test]
fn names_and_sections_that_haproxy_refuses() {
    check(&Case {
        text: r"
maxconn 5
listen a from nowhere
  bind 10.0.0.100:443
  timeout client 1x
  timeout server 0
  server a 'b
  server b 10.0.0.2:443 check inter fast weight much agent-check
  server c 10.0.0.3:443 check inter 0
backend a
  server a 10.0.0.1:443
frontend b
  default_backend a
",
        config: &["replicas = [\"b\", \"c\"]", "interval = \"2s\""],
        not: &[],
        rows: &[
            (1, Decides, "no section"),
            (2, Decides, "no `defaults nowhere`"),
            (4, Fault, "no time"),
            (6, Decides, "not closed"),
            (7, Fault, "agent-port"),
            (7, Fault, "\"fast\" is no time"),
            (9, Decides, "already"),
            (11, Decides, "no `bind`"),
        ],
        decides: true,
    });
}
