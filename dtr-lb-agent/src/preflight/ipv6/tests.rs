use super::*;

#[test]
fn settings_that_take_ipv6_away_are_told() {
    for (disabled, forwarding, accept_ra, words) in [
        (Some("0\n"), "0\n", "1\n", None),
        (Some("0\n"), "1\n", "2\n", None),
        (Some("0\n"), "1\n", "0\n", None),
        (Some("0\n"), "1\n", "1\n", Some("accept_ra = 2")),
        (Some("1\n"), "1\n", "1\n", Some("disable_ipv6=0")),
        (None, "0\n", "1\n", Some("has no IPv6")),
    ] {
        let mut found = Findings::default();
        let values =
            [("disable_ipv6", disabled), ("forwarding", Some(forwarding)), ("accept_ra", Some(accept_ra))];
        let set = values.into_iter().filter_map(|(key, value)| Some((path("eth0", key), value?.to_owned())));
        found.settings("eth0", &Settings(set.collect()));
        match (words, &found.warnings[..]) {
            (None, []) => {}
            (Some(words), [warning]) => assert!(warning.contains(words), "{warning}"),
            other => panic!("{disabled:?} {forwarding} {accept_ra}: {other:?}"),
        }
    }
}

#[test]
fn vips_that_another_host_has_are_told() {
    let table = "00000000000000000000000000000001 01 80 10 80       lo\n\
                 fd000000000000000000000000000010 02 80 00 c8     eth0\n\
                 fd000000000000000000000000000011 02 80 00 40     eth0\n\
                 fd000000000000000000000000000012 02 80 00 80     eth0\n\
                 fd000000000000000000000000000013 02 80 00 c8     eth0\n\
                 short\n";
    let vips = ["fd00::10", "fd00::11", "fd00::12", "10.0.0.10"];
    let vips: BTreeSet<IpAddr> = vips.iter().map(|vip| vip.parse().expect("an address")).collect();
    let mut found = Findings::default();
    found.duplicates(&vips, table);
    let [failed, under_way] = &found.warnings[..] else { panic!("{found:?}") };
    assert!(failed.contains("fd00::10 on eth0 is not in use"), "{failed}");
    assert!(under_way.contains("fd00::11 on eth0 does not answer yet"), "{under_way}");
}
