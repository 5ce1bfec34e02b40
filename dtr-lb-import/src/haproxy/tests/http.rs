//! `mode http`: what is left of it for TCP.

use super::{Case, Decides, Differs, Fault, LeftOut, Taken, check};

#[test]
fn a_web_frontend_with_rules() {
    check(&Case {
        text: r"
global
	log 127.0.0.1:514 local0
	ssl-default-bind-options ssl-min-ver TLSv1.2
	tune.ssl.default-dh-param 2048
	tune.something.new 1
	ca-base /etc/ssl/certs
defaults
	mode	http
	option	httplog
	errorfile 400 /etc/haproxy/errors/400.http
	timeout client  50000
	timeout server  50000
frontend www
	bind 10.0.0.100:80
	bind 10.0.0.100:443 ssl crt /etc/haproxy/certs/ alpn h2,http/1.1
	http-request redirect scheme https unless { ssl_fc }
	http-request set-header X-Forwarded-Proto https if { ssl_fc }
	http-request deny if { src 10.6.0.0/16 }
	http-request set-var(txn.a) src
	http-response set-header Strict-Transport-Security max-age=63072000
	acl is_api path_beg /api
	acl internal src 10.0.0.0/8
	use_backend api if is_api internal
	default_backend web
backend web
	balance uri
	cookie SRV insert indirect nocache
	option httpchk HEAD / HTTP/1.1\r\nHost:localhost
	http-check expect rstatus (2|3)[0-9][0-9]
	server w1 web1.example.com:8080 check cookie w1
	server w2 web2.example.com:8080 check cookie w2 redir https://elsewhere
backend api
	server a1 10.0.0.9:8000 check
",
        config: &[
            "deny = [\"10.6.0.0/16\"]",
            "denied = \"reset\"",
            "replica_port = 8080",
            "method = \"HEAD\"",
            "host = \"localhost\"",
            "status = [\"200-399\"]",
            "address = \"web1.example.com\"",
        ],
        not: &["10.0.0.9"],
        rows: &[
            (3, LeftOut, "no TLS"),
            (4, Differs, "buffers"),
            (5, Differs, "buffers"),
            (8, Differs, "not requests"),
            (10, LeftOut, "servers have to send"),
            (11, Fault, "50s"),
            (15, Decides, "TLS ends here"),
            (15, Decides, "replica_port"),
            (16, Decides, "https://"),
            (17, Decides, "requests"),
            (18, Differs, "reset"),
            (19, Differs, "nothing depends"),
            (20, LeftOut, "servers have to send"),
            (21, Decides, "path_beg"),
            (22, Decides, "a rule"),
            (23, Decides, "all clients go to web"),
            (26, Differs, "content"),
            (27, Decides, "cookies"),
            (28, Taken, "Host"),
            (30, LeftOut, "cookies"),
            (31, Decides, "redirection"),
            (32, Decides, "by rules"),
        ],
        decides: true,
    });
}

#[test]
fn plain_balancing_of_http_decides_nothing() {
    check(&Case {
        text: r"
defaults
  mode http
  option forwardfor
  option http-keep-alive
  timeout client 15m
  timeout server 20m
  timeout http-request 5s
  timeout tunnel 1h
frontend in
  bind *:80
  default_backend web
backend web
  balance first
  http-reuse safe
  server w1 10.0.0.1:80 check
frontend health
  bind *:8404
  monitor-uri /healthz
  no log
frontend prometheus
  bind *:8405
  http-request use-service prometheus-exporter if { path /metrics }
",
        config: &["idle_timeout = \"15m\"", "port = 80"],
        not: &["8404", "8405"],
        rows: &[
            (2, Differs, "X-Forwarded-For"),
            (3, Differs, "headers"),
            (7, Differs, "requests"),
            (13, Differs, "first"),
            (14, Differs, "shared"),
            (16, Differs, "/healthz"),
            (19, Differs, ""),
            (22, Differs, "/metrics"),
        ],
        decides: false,
    });
}

#[test]
fn tls_to_servers() {
    check(&Case {
        text: r"
defaults
  timeout client 1h
  timeout server 1h
listen wraps
  bind 10.0.0.100:5000
  server a 10.0.0.1:5001 ssl verify none check
listen ends
  bind 10.0.0.100:443 ssl crt a.pem
  server a 10.0.0.1:443 ssl ca-file /a.pem sni str(a.example.com) check
listen within
  bind 10.0.0.100:8443
  server a 10.0.0.1:443 ssl check port 80
listen refused
  bind 10.0.0.100:6443
  server a 10.0.0.1:6443 check check-ssl
  server b 10.0.0.2:6443 check check-ssl verify none send-proxy-v2
",
        config: &["verify = \"/a.pem\"", "host = \"a.example.com\"", "scheme = \"tls\"", "scheme = \"tcp\""],
        not: &[],
        rows: &[
            (6, Decides, "clients who speak none"),
            (8, Decides, "TLS ends here"),
            (9, Differs, "begins it anew"),
            (12, Fault, "TLS within TLS"),
            (15, Fault, "without `ca-file`"),
            (16, Decides, "PROXY"),
        ],
        decides: true,
    });
}
