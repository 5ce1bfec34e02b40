use super::*;
use crate::interface::Link;

fn seen(name: &str, index: Option<u32>, xdp: Option<u32>) -> Seen {
    let link = index.map(|index| Link { index, mtu: 1500, up: true, xdp_program: xdp, carriers: Vec::new() });
    Seen { name: name.into(), link }
}

fn interface(name: &str, index: u32) -> Interface {
    Interface { name: name.into(), index, xdp_program: None }
}

#[test]
fn an_interface_that_goes_and_comes_back_is_told_and_to_be_attached() {
    let attached = [interface("eth0", 2), interface("eth1", 3)];
    let on = Some((Hook::NativeXdp, &attached[..]));
    let mut presence = Presence::default();
    let whole = [seen("eth0", Some(2), Some(7)), seen("eth1", Some(3), Some(7))];
    assert_eq!(presence.take(&whole, on), Found { changes: Vec::new(), to_attach: None });
    assert!(presence.serves("eth0") && presence.serves("eth1"));

    let gone = [seen("eth0", Some(2), Some(7)), seen("eth1", None, None)];
    let changes = vec![("eth1".to_owned(), InterfaceState::Gone)];
    assert_eq!(presence.take(&gone, on), Found { changes, to_attach: None });
    assert!(presence.serves("eth0") && !presence.serves("eth1"));
    assert_eq!(presence.take(&gone, on).changes, [], "told once");

    let back = [seen("eth0", Some(2), Some(7)), seen("eth1", Some(9), None)];
    let found = presence.take(&back, on);
    assert_eq!(found.changes, [("eth1".to_owned(), InterfaceState::Bare)]);
    let all: Vec<_> = back.iter().filter_map(Seen::interface).collect();
    assert_eq!(found.to_attach.as_ref(), Some(&all), "all that are there, not only the new one");
    assert!(!presence.serves("eth1"));

    assert!(presence.attached(false), "the first failure is told");
    assert_eq!(presence.take(&back, on), Found { changes: Vec::new(), to_attach: Some(all.clone()) });
    assert!(!presence.attached(false), "the next is not");
    assert!(presence.attached(true));
    assert!(presence.serves("eth1"));
    let again = [seen("eth0", Some(2), Some(7)), seen("eth1", Some(9), Some(7))];
    let found = presence.take(&again, Some((Hook::NativeXdp, &all[..])));
    assert_eq!(found, Found { changes: Vec::new(), to_attach: None });
}

#[test]
fn one_that_was_made_anew_between_two_looks_is_noticed() {
    let attached = [interface("eth0", 2)];
    let cases = [
        (Hook::NativeXdp, Some(2), Some(7), true),
        (Hook::NativeXdp, Some(3), None, false),
        (Hook::NativeXdp, Some(2), None, false),
        (Hook::GenericXdp, Some(2), None, false),
        (Hook::Tc, Some(2), None, true),
        (Hook::Tc, Some(3), None, false),
    ];
    for (hook, index, xdp, serves) in cases {
        let mut presence = Presence::default();
        let found = presence.take(&[seen("eth0", index, xdp)], Some((hook, &attached[..])));
        assert_eq!(presence.serves("eth0"), serves, "{hook:?} {index:?} {xdp:?}");
        assert_eq!(found.to_attach.is_none(), serves);
    }
}
