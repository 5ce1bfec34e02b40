//! The format's own words: conditions, definitions, sequences, and what is broken.

use super::check;
use crate::{Given, expected};

const PROBE: &str = r#"
        [service.probe]
        scheme = "tcp"
        interval = "5s"
        fast_interval = "1s"
        timeout = "5s"
        rise = 1
        fall = 2
"#;

fn config(vip: &str, replicas: &[&str]) -> String {
    let list: Vec<_> = replicas.iter().map(|replica| format!("{replica:?}")).collect();
    let tables: String = replicas
        .iter()
        .map(|replica| format!("[[replica]]\nname = {replica:?}\naddress = {replica:?}\n"))
        .collect();
    format!(
        "[datapath]\nall_down = \"refuse\"\n[[service]]\nname = \"{vip}:80\"\nport = 80\nvip = \"{vip}\"\nmode = \"dnat\"\n\
         replicas = [{}]\n{PROBE}{tables}",
        list.join(", ")
    )
}

#[test]
fn definitions_of_several_lines_and_sequences() {
    check(
        "$NET=10.0.0
$RS= \\
    real_server ${NET}.${N} 80 { \\
        TCP_CHECK { \\
        } \\
    }
virtual_server ${NET}.9 80
{
    delay_loop 5
    lb_algo rr
    lb_kind NAT
    ~SEQ(N, 1, 2) $RS
    ~LST(N, 7) $RS
}
",
        &config("10.0.0.9", &["10.0.0.1", "10.0.0.2", "10.0.0.7"]),
        &["taken 2 ", "taken 7 take this block out", "taken 12 "],
    );
}

#[test]
fn conditions_hold_for_the_first_id() {
    check(
        "vrrp_instance A {
@lb1  priority 100
@lb2  priority 50
    unicast_peer {
@^lb1    10.0.0.21
@^lb2    10.0.0.22
    }
}
virtual_server 10.0.0.9 80 {
    delay_loop 5
    lb_algo rr
    lb_kind NAT
    real_server 10.0.0.1 80 {
        TCP_CHECK {
        }
    }
@lb2 persistence_timeout 60
}
",
        &config("10.0.0.9", &["10.0.0.1"]),
        &[
            "differs 2 runs as `lb1`",
            "out 3 does not hold where keepalived runs as `lb1`",
            "out 5 does not hold",
            "differs 6 is taken as if it did",
            "out! 17 does not hold",
        ],
    );
}

#[test]
fn crlf_tabs_and_missing_braces() {
    check(
        "\u{20}\tvrrp_instance A {\r\n\tvirtual_ipaddress {\r\n\t\t10.0.0.9\r\n\t}\r\n\r\nvirtual_server 10.0.0.9 80 {\r\n\
         delay_loop 5\r\nlb_algo rr\r\nlb_kind NAT\r\nreal_server 10.0.0.1 80\r\n\t{\r\nTCP_CHECK\t{\r\n}\r\n} # end\r\n",
        &config("10.0.0.9", &["10.0.0.1"]),
        &["fault 1 no closing brace before the next one begins", "fault 6 the file ends within it"],
    );
}

#[test]
fn variables_that_nobody_defines_are_placeholders() {
    let import = expected::read(
        &[(
            "k",
            "include /etc/keepalived/vars.conf\nvirtual_server ${VIP} 80 {\n  lb_kind NAT\n  lb_algo rr\n  real_server ${_ENV RS1} 80 {\n  }\n  real_server <RS2> 80 {\n  }\n}\n",
        )],
        &Given::default(),
    );
    expected::hold(
        &import.report,
        &[
            "out! 1 is not read by itself",
            "fault! 2 ${VIP} is no address",
            "fault! 5 ${_ENV RS1} is no address",
            "fault! 7 <RS2> is no address",
        ],
    );
}

#[test]
fn what_grows_without_end_is_left_out() {
    let import = expected::read(
        &[(
            "k",
            "$A=$B $B\n$B=$A $A\nglobal_defs {\n  router_id $A\n}\n~SEQ(I, 1, 1000000) frobnicate ${I}\n~SEQ(I, x) y\nvirtual_server 10.0.0.9 80 {\n  lb_kind NAT\n  lb_algo rr\n  real_server 10.0.0.1 80 {\n  }\n}\n",
        )],
        &Given::default(),
    );
    expected::hold(
        &import.report,
        &[
            "out! 4 or for itself",
            "out! 6 more than 1024 lines",
            "out! 7 cannot be read",
            "fault 8 nobody asks",
        ],
    );
}
