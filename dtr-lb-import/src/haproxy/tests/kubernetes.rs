//! In front of API servers, as kubeadm's and others' guides have it.

use super::{Case, Decides, Differs, Fault, LeftOut, Taken, check};

#[test]
fn http_defaults_around_a_tcp_frontend() {
    check(&Case {
        text: r"
# /etc/haproxy/haproxy.cfg
global
    log stdout format raw local0
    daemon

defaults
    mode                    http
    log                     global
    option                  httplog
    option http-server-close
    option forwardfor       except 127.0.0.0/8
    option                  redispatch
    retries                 1
    timeout http-request    10s
    timeout queue           20s
    timeout connect         5s
    timeout client          35s
    timeout server          35s
    timeout check           10s

frontend apiserver
    bind *:8443
    mode tcp
    option tcplog
    default_backend apiserverbackend

backend apiserverbackend
    option httpchk

    http-check connect ssl
    http-check send meth GET uri /healthz
    http-check expect status 200

    mode tcp
    balance     roundrobin

    server m1 10.0.0.21:6443 check verify none
    server m2 10.0.0.22:6443 check verify none
",
        config: &[
            "port = 8443",
            "replica_port = 6443",
            "scheme = \"https\"",
            "path = \"/healthz\"",
            "status = [\"200\"]",
            "timeout = \"10s\"",
            "all_down = \"refuse\"",
        ],
        not: &["method", "verify"],
        rows: &[
            (4, Differs, "worker"),
            (10, LeftOut, "mode http"),
            (11, LeftOut, "mode http"),
            (12, Taken, "another replica"),
            (15, Differs, "queue"),
            (17, Fault, "35s"),
            (25, Taken, ""),
            (34, Taken, ""),
            (35, Differs, "hash"),
            (37, Taken, ""),
        ],
        decides: false,
    });
}

#[test]
fn default_server_with_limits() {
    check(&Case {
        text: r"
frontend k8s-api
   bind 192.168.1.100:6443
   bind 127.0.0.1:6443
   mode tcp
   timeout client 3600000
   default_backend k8s-api

backend k8s-api
   mode tcp
   option tcp-check
   timeout server 3600000
   balance leastconn
   default-server inter 10s downinter 5s rise 2 fall 2 slowstart 60s maxconn 250 maxqueue 256 weight 50
       server apiserver1 192.168.1.101:6443 check
       server apiserver2 192.168.1.102:6443 check weight 25
",
        config: &[
            "vip = \"192.168.1.100\"",
            "scheme = \"tcp\"",
            "interval = \"10s\"",
            "down_interval = \"5s\"",
            "fall = 2",
            "max_flows_per_replica = 250",
            "weight = 50",
            "weight = 25",
            "slow_start = \"1m\"",
            "idle_timeout = \"1h\"",
        ],
        not: &["127.0.0.1"],
        rows: &[
            (3, Decides, "other hosts"),
            (12, Differs, "not of load"),
            (13, Differs, "maxqueue"),
            (14, Taken, ""),
        ],
        decides: true,
    });
}

#[test]
fn a_tls_connect_and_a_readyz_over_tls() {
    check(&Case {
        text: r#"
defaults
  timeout connect 10s
  timeout client 86400s
  timeout server 86400s
  timeout tunnel 86400s
frontend openshift-api-server
    bind *:6443,*:22623
    default_backend openshift-api-server
    mode tcp
backend openshift-api-server
    balance source
    mode tcp
    option tcp-check
    tcp-check connect port 6443 ssl sni api.example.com alpn h2
    server bootstrap 192.168.7.20 check inter 1s backup verify required ca-file /etc/ca.crt
    server master0 192.168.7.21 check inter 1s verify required ca-file /etc/ca.crt
    server master1 192.168.7.22 check inter 1s verify required ca-file /etc/ca.crt
"#,
        config: &[
            "name = \"openshift-api-server-6443\"",
            "name = \"openshift-api-server-22623\"",
            "port = 22623",
            "scheme = \"tls\"",
            "port = 6443",
            "host = \"api.example.com\"",
            "alpn = [\"h2\"]",
            "verify = \"/etc/ca.crt\"",
            "affinity = \"source-ip\"",
            "backup = [\"bootstrap\"]",
            "idle_timeout = \"1day\"",
        ],
        not: &["replica_port"],
        rows: &[(3, Taken, "tunnel"), (11, Taken, "affinity"), (14, Taken, "")],
        decides: false,
    });
}
