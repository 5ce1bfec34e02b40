//! What is said of an order that was taken back.

use super::*;
use crate::{
    changes::{Changes, Names, effective},
    config::HostFacts,
};

fn config(change: impl FnOnce(&mut Changes)) -> Config {
    let text = "vip = \"10.0.0.10\"\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"s\"\nport = 80\n\
                [[replica]]\nname = \"r1\"\naddress = \"10.0.0.11\"\n[[replica]]\naddress = \"10.0.0.12\"\n";
    let host = HostFacts { ephemeral_ports: 32_768..=60_999 };
    let file = Config::parse(text, "test.toml", &[], &host).unwrap_or_else(|error| panic!("{error}"));
    let mut changes = Changes::default();
    change(&mut changes);
    effective(&file, &Names::new(), &changes).config
}

#[test]
fn it_says_what_each_replica_is_again() {
    let ip = |last: u8| std::net::IpAddr::from([10, 0, 0, last]);
    let plain = config(|_| {});
    let other = config(|changes| {
        changes.set_admin("s", ip(11), Admin::Drain);
        changes.set_weight("s", ip(11), Some(7));
        changes.set_admin("s", ip(12), Admin::Maint);
    });
    assert_eq!(words(&plain, &plain), [""; 0]);
    assert_eq!(
        words(&other, &plain),
        [
            "service `s`: replica r1 (10.0.0.11) is ready again and has weight 100 again",
            "service `s`: replica 10.0.0.12 is ready again; it gets connections once a probe finds it up",
        ]
    );
    assert_eq!(
        words(&plain, &other),
        [
            "service `s`: replica r1 (10.0.0.11) is drained again: it gets no new connections and has weight 7 again",
            "service `s`: replica 10.0.0.12 is in maintenance again: no new connections, no probes",
        ]
    );
    let without = config(|changes| changes.remove("s", ip(12)));
    assert_eq!(
        words(&without, &plain),
        ["service `s`: replica 10.0.0.12 is back; it gets connections once a probe finds it up"]
    );
    assert_eq!(
        words(&plain, &without),
        ["service `s`: replica 10.0.0.12 is removed; its connections may end by themselves"]
    );
}
