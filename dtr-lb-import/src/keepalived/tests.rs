//! Whole configurations, as operators have them.

mod checks;
mod properties;
mod syntax;

use super::is_one;
use crate::{Format, Given, expected};

fn check(text: &str, config: &str, rows: &[&str]) {
    expected::check(Format::Keepalived, &[("keepalived.conf", text)], config, rows);
}

#[test]
fn which_texts_are_ones() {
    for text in [
        "vrrp_instance VI_1 {\n}",
        "vrrp_instance VI_1\n{",
        "  virtual_server 10.0.0.1 80 {",
        "@main virtual_server group web {",
        "global_defs{\n",
        "\tvirtual_ipaddress {",
    ] {
        assert!(is_one(text), "{text}");
    }
    for text in [
        "stream { server { listen 80; } }",
        "# virtual_server 10.0.0.1 80 {\nfrontend a\n  bind :80",
        "defaults\n  mode tcp",
        "virtual_server: 10.0.0.1",
        "virtual_server blocks are described in the manual of keepalived",
        "{\"virtual_server\": 1}",
    ] {
        assert!(!is_one(text), "{text}");
    }
}

#[test]
fn a_registry_behind_nat() {
    check(
        "! Configuration File for keepalived

global_defs {
   notification_email {
     ops@example.com
   }
   router_id LVS_1
   lvs_timeouts tcp 300 tcpfin 30
}

vrrp_instance VI_1 {
    state MASTER
    interface eth0
    virtual_router_id 51
    priority 100
    advert_int 1
    authentication {
        auth_type PASS
        auth_pass s3cret
    }
    virtual_ipaddress {
        10.0.0.10/24 dev eth0 label eth0:1
    }
}

virtual_server 10.0.0.10 443 {
    delay_loop 6
    lb_algo wlc
    lb_kind NAT
    persistence_timeout 50
    protocol TCP

    real_server 10.0.0.11 443 {
        weight 1
        SSL_GET {
            url {
              path /health
              status_code 200
            }
            connect_timeout 3
            retry 3
            delay_before_retry 3
        }
    }
    real_server 10.0.0.12 443 {
        weight 2
        SSL_GET {
            url {
              path /health
              status_code 200
            }
            connect_timeout 3
            retry 3
            delay_before_retry 3
        }
    }
}
",
        r#"
        [datapath]
        all_down = "refuse"
        [[service]]
        name = "10.0.0.10:443"
        port = 443
        vip = "10.0.0.10"
        mode = "dnat"
        affinity = "source-ip"
        affinity_timeout = "50s"
        replicas = ["10.0.0.11", "10.0.0.12"]
        [service.probe]
        scheme = "https"
        path = "/health"
        status = ["200"]
        interval = "6s"
        fast_interval = "3s"
        timeout = "3s"
        rise = 1
        fall = 4
        [[replica]]
        name = "10.0.0.11"
        address = "10.0.0.11"
        weight = 1
        [[replica]]
        name = "10.0.0.12"
        address = "10.0.0.12"
        weight = 2
        "#,
        &[
            "taken 5 keepalived goes on doing this",
            "fault 8 silent connections end after 5m",
            "differs 11 take the virtual_server blocks out of this file",
            "taken 22 VIP",
            "fault 26 no service at port 80",
            "differs 28 least connections",
            "taken 29 mode \"dnat\": replicas see the client's address",
            "taken 30 affinity_timeout",
            "taken 41 fall",
        ],
    );
}

#[test]
fn passwords_stay_out_of_the_report() {
    let text = "vrrp_instance A {\n  authentication {\n    auth_type PASS\n    auth_pass s3cret\n  }\n}\nvirtual_server 10.0.0.1 80 {\n real_server 10.0.0.2 80 {\n }\n}\n";
    let import = expected::read(&[("k", text)], &Given::default());
    assert!(!format!("{:?}", import.report).contains("s3cret"));
}

#[test]
fn direct_routing_with_a_backup() {
    check(
        "virtual_server 10.1.0.5 6443
{
    delay_loop 3
    lvs_sched wrr
    lvs_method DR
    protocol tcp
    ha_suspend
    quorum 1
    sorry_server 10.1.0.19 6443
    real_server 10.1.0.11 6443
    {
        weight 100
        inhibit_on_failure
        uthreshold 5000
        TCP_CHECK
        {
            connect_timeout 2
        }
    }
    real_server 10.1.0.12 9443 {
        weight 50
        uthreshold 5000
        TCP_CHECK { connect_timeout 2 }
        notify_down \"/usr/local/bin/page it\"
    }
}
",
        r#"
        [datapath]
        all_down = "refuse"
        [[service]]
        name = "10.1.0.5:6443"
        port = 6443
        vip = "10.1.0.5"
        mode = "dsr"
        replicas = ["10.1.0.11", "10.1.0.12", "10.1.0.19"]
        backup = ["10.1.0.19"]
        [service.probe]
        scheme = "tcp"
        interval = "3s"
        fast_interval = "1s"
        timeout = "2s"
        rise = 1
        fall = 2
        [[replica]]
        name = "10.1.0.11"
        address = "10.1.0.11"
        [[replica]]
        name = "10.1.0.12"
        address = "10.1.0.12"
        weight = 50
        [[replica]]
        name = "10.1.0.19"
        address = "10.1.0.19"
        "#,
        &[
            "differs 4 round robin",
            "taken 5 mode \"dsr\"",
            "out 7 dtr-lb probes wherever it runs",
            "differs 9 backup",
            "differs 13 datapath.on_down",
            "fault 20 packets keep their port in this mode",
            "out 24 dtr-lb runs no commands",
        ],
    );
}

#[test]
fn groups_tunnels_and_two_families() {
    check(
        "virtual_server_group web {
    192.0.2.1-2 443   # a range
    2001:db8::1 443
    fwmark 7
}
virtual_server_group unused {
    192.0.2.99 1
}
virtual_server group web {
    lb_algo sh
    lb_kind TUN
    real_server 2001:db8:1::1 443 { }
    real_server 2001:db8:1::2 443 {
        TCP_CHECK {
        }
    }
}
virtual_server group missing {
    real_server 10.0.0.1 1 {
    }
}
",
        r#"
        [datapath]
        all_down = "refuse"
        [[service]]
        name = "web"
        port = 443
        vip = ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
        mode = "ipip"
        affinity = "source-ip"
        replicas = ["2001:db8:1::1", "2001:db8:1::2"]
        [service.probe]
        scheme = "tcp"
        interval = "1m"
        fast_interval = "1s"
        timeout = "5s"
        rise = 1
        fall = 2
        [[replica]]
        name = "2001:db8:1::1"
        address = "2001:db8:1::1"
        [[replica]]
        name = "2001:db8:1::2"
        address = "2001:db8:1::2"
        "#,
        &[
            "out! 4 a firewall mark does not say",
            "out 6 no virtual_server uses this group",
            "taken 10 affinity",
            "differs 12 not checked in the original",
            "fault! 18 there is no virtual_server_group missing",
        ],
    );
}

#[test]
fn what_is_not_tcp_or_has_no_address_is_left_out() {
    check(
        "virtual_server 10.0.0.10 53 {
    protocol UDP
    real_server 10.0.0.11 53 {
        DNS_CHECK {
            type txt
        }
    }
}
virtual_server fwmark 3 {
    lb_kind DR
    real_server 10.0.0.11 {
        weight 1
    }
}
virtual_server 10.0.0.10 0 {
    persistence_timeout
    real_server 10.0.0.11 0 {
    }
}
virtual_server 10.0.0.10 80 {
    lb_algo rr
    lb_kind NAT
    real_server 10.0.0.11 8080 {
        weight 1
        HTTP_GET {
            url {
                path /
            }
        }
    }
    real_server 10.0.0.12 8080 {
        weight 0
        HTTP_GET {
            url {
                path /
            }
        }
    }
}
",
        r#"
        [datapath]
        all_down = "refuse"
        [[service]]
        name = "10.0.0.10:80"
        port = 80
        vip = "10.0.0.10"
        replica_port = 8080
        mode = "dnat"
        replicas = ["10.0.0.11", "10.0.0.12"]
        [service.probe]
        scheme = "http"
        path = "/"
        status = ["200-299"]
        interval = "1m"
        fast_interval = "3s"
        timeout = "5s"
        rise = 1
        fall = 2
        [[replica]]
        name = "10.0.0.11"
        address = "10.0.0.11"
        [[replica]]
        name = "10.0.0.12"
        address = "10.0.0.12"
        weight = 0
        "#,
        &[
            "out! 1 UDP stays with IPVS",
            "out 5 left out",
            "out! 9 a firewall mark",
            "out! 15 all ports of the address",
            "taken 31 weight 0",
        ],
    );
}

#[test]
fn schedulers() {
    let config = |algorithm: &str| {
        let text = format!(
            "virtual_server 10.0.0.9 80 {{\n{algorithm}\nlb_kind NAT\nreal_server 10.0.0.1 80 {{\nweight 3\nTCP_CHECK {{\n}}\n}}\n\
             real_server 10.0.0.2 80 {{\nweight 1\nTCP_CHECK {{\n}}\n}}\n}}\n"
        );
        let import = expected::read(&[("k", &text)], &Given::default());
        let kept = ["affinity", "backup", "weight"];
        let lines: Vec<_> = expected::bare(&import.config)
            .lines()
            .filter(|line| kept.iter().any(|key| line.starts_with(key)))
            .map(str::to_owned)
            .collect();
        lines.join(" ")
    };
    for (algorithm, expected) in [
        ("lb_algo wrr", "weight = 3 weight = 1"),
        ("lb_algo rr", ""),
        ("lb_algo sed", "weight = 3 weight = 1"),
        ("lb_algo sh", "affinity = \"source-ip\" weight = 3 weight = 1"),
        ("lb_algo mh\nmh-port", "weight = 3 weight = 1"),
        ("lb_algo fo", "backup = [\"10.0.0.2\"]"),
        (
            "lb_algo lc\npersistence_timeout",
            "affinity = \"source-ip\" affinity_timeout = \"6m\" weight = 3 weight = 1",
        ),
        (
            "lb_algo lc\npersistence_granularity 255.255.255.0",
            "affinity = \"source-ip\" affinity_timeout = \"6m\" weight = 3 weight = 1",
        ),
    ] {
        assert_eq!(config(algorithm), expected, "{algorithm}");
    }
}

#[test]
fn the_vip_of_one_file_and_the_servers_of_another() {
    let import = expected::read(
        &[
            (
                "keepalived.conf",
                "vrrp_script chk {\n  script \"killall -0 haproxy\"\n}\nvrrp_instance A {\n  notify_master \"systemctl start nginx\"\n  virtual_ipaddress {\n    10.0.0.10/24\n    fe80::1\n  }\n}\n",
            ),
            ("rest.conf", "virtual_server 10.0.0.10 80 {\n  real_server 10.0.0.11 80 {\n  }\n}\n"),
        ],
        &Given::default(),
    );
    expected::hold(
        &import.report,
        &[
            "differs 2 dtr-lb status --healthy",
            "differs 5 starts or stops the old balancer",
            "taken 7 VIP",
            "differs 8 link-local",
            "fault 1 nobody asks the servers",
        ],
    );
}
