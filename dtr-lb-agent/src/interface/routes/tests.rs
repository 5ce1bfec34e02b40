//! Against the real kernel, each in a network namespace that ends with its thread. Needs root.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    thread,
};

use nix::sched::{CloneFlags, unshare};

use super::*;
use crate::config::HostFacts;

/// What is said of `config` in a namespace where `ip` was run with each of these lines.
fn found(commands: &'static str, config: &'static str) -> Result<String, InterfaceError> {
    let test = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace");
        let mut ip =
            Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("`ip` of iproute2");
        ip.stdin.take().expect("a pipe").write_all(commands.as_bytes()).expect("write to `ip`");
        assert!(ip.wait().expect("`ip` to end").success(), "{commands}");
        let host = HostFacts { ephemeral_ports: 32_768..=60_999 };
        let config = Config::parse(config, "test.toml", &[], &host).expect("a valid config");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let found = runtime.block_on(by_routes(&config))?;
        let lines = found.interfaces.iter().map(|chosen| format!("{chosen}\n"));
        Ok(lines.chain(found.notes.iter().map(|note| format!("note: {note}\n"))).collect())
    });
    test.join().expect("no panic in the namespace")
}

const TWO_SIDES: &str = "link set lo up
    link add wan0 type veth peer name wan1
    link add lan0 type veth peer name lan1
    address add 10.0.0.2/24 dev wan0
    address add 10.1.0.2/24 dev lan0
    link set wan0 up
    link set lan0 up
    link set wan1 up
    link set lan1 up
    route add default via 10.0.0.1
    ";

const CONFIG: &str =
    "vip = \"10.0.0.10\"\n[[replica]]\naddress = \"10.1.0.11\"\n[[replica]]\naddress = \"10.1.0.12\"\n";

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_the_vips_network_and_the_replicas_routes_say_it() {
    let beside = found(TWO_SIDES, CONFIG).expect("interfaces");
    assert_eq!(beside, "wan0 (the VIP 10.0.0.10 is in its network)\nlan0 (route to 10.1.0.11, 10.1.0.12)\n");
    let on = found(
        "link set lo up
         link add eth0 type veth peer name eth1
         address add 10.0.0.2/24 dev eth0
         address add 10.0.0.10/32 dev eth0
         link set eth0 up
         link set eth1 up",
        "vip = \"10.0.0.10\"\n[[replica]]\naddress = \"10.0.0.11\"\n[[replica]]\naddress = \"10.9.0.12\"\n",
    )
    .expect("interfaces");
    assert!(
        on.starts_with("eth0 (has the VIP 10.0.0.10; route to 10.0.0.11)\nnote: replica 10.9.0.12"),
        "{on}"
    );
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_vip_on_lo_leaves_it_to_the_default_route() {
    let elsewhere = "vip = \"10.7.0.10\"\n[[replica]]\naddress = \"10.1.0.11\"\n";
    let expected = "wan0 (the default route, as the VIP 10.7.0.10 is on no interface that frames arrive on)\n\
                    lan0 (route to 10.1.0.11)\n";
    let on_lo = concat!(
        "link set lo up\nlink add wan0 type veth peer name wan1\nlink add lan0 type veth peer name lan1\n",
        "address add 10.0.0.2/24 dev wan0\naddress add 10.1.0.2/24 dev lan0\nlink set wan0 up\nlink set lan0 up\n",
        "link set wan1 up\nlink set lan1 up\nroute add default via 10.0.0.1\naddress add 10.7.0.10/32 dev lo\n"
    );
    assert_eq!(found(on_lo, elsewhere).expect("interfaces"), expected);
}

#[test]
fn who_gets_frames_is_told_by_flags_and_kind() {
    let link = |kind, flags, lower: Option<u32>| {
        let mut message = LinkMessage::default();
        message.header.flags = flags;
        message.attributes = vec![LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)])];
        message.attributes.extend(lower.map(LinkAttribute::Link));
        message
    };
    let up = LinkFlags::Up;
    for (message, expected) in [
        (link(InfoKind::Veth, up, Some(9)), Frames::Own),
        (link(InfoKind::Vlan, up, Some(9)), Frames::Own),
        (link(InfoKind::MacVlan, up, Some(9)), Frames::Of(9)),
        (link(InfoKind::Dummy, up, None), Frames::None),
        (link(InfoKind::Veth, up | LinkFlags::Loopback, None), Frames::None),
    ] {
        assert_eq!(frames_of(&message), expected, "{message:?}");
    }
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_macvlan_is_what_it_stands_on() {
    let virtual_router = "link set lo up\nlink add eth0 type veth peer name eth1\naddress add 10.0.0.2/24 dev eth0\n\
        link set eth0 up\nlink set eth1 up\nlink add link eth0 name vrrp.51 type macvlan\n\
        address add 10.0.0.10/32 dev vrrp.51\nlink set vrrp.51 up\n";
    let replica = "vip = \"10.0.0.10\"\n[[replica]]\naddress = \"10.0.0.11\"\n";
    assert_eq!(
        found(virtual_router, replica).expect("interfaces"),
        "eth0 (has the VIP 10.0.0.10; route to 10.0.0.11)\n"
    );
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_where_nothing_leads_anywhere_the_error_says_what_to_write() {
    let error = found("link set lo up", CONFIG).expect_err("no interface").to_string();
    for words in ["interfaces = [\"eth0\"]", "10.0.0.10", "10.1.0.11", "unreachable"] {
        assert!(error.contains(words), "{words} is not in: {error}");
    }
}
