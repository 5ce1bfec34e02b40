use super::*;

/// What apt 2.6 says where a newer qemu-utils is installed.
const CONFLICT: &str = "\
Reading package lists...
The following additional packages will be installed:
  ipxe-qemu qemu-system-common seabios
The following packages will be REMOVED:
  qemu-utils
The following NEW packages will be installed:
  ipxe-qemu qemu-system-common qemu-system-x86 seabios
0 upgraded, 4 newly installed, 1 to remove and 132 not upgraded.
Remv qemu-utils [1:10.0.2+ds-2~bpo12+1]
Inst ipxe-qemu (1.0.0+git-20190125.36a4c85-5.1 Debian:12.11/stable [all])
Inst qemu-system-common (1:7.2+dfsg-7 Debian:12.11/stable [amd64]) []
Inst perl-base [5.36.0-7] (5.36.0-8 Debian-Security:12/stable [amd64])
Conf ipxe-qemu (1.0.0+git-20190125.36a4c85-5.1 Debian:12.11/stable [all])
";

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn what_would_be_removed_is_named_and_what_would_be_installed_has_its_version() {
    let simulation = Simulation::read(CONFLICT, "", true);
    assert_eq!(simulation.harm().unwrap(), "apt would remove qemu-utils");
    let installs = simulation.installs.iter().map(|(name, version)| format!("{name}={version}"));
    assert_eq!(
        installs.collect::<Vec<_>>(),
        ["ipxe-qemu=1.0.0+git-20190125.36a4c85-5.1", "qemu-system-common=1:7.2+dfsg-7", "perl-base=5.36.0-8"]
    );
}

#[test]
fn an_upgrade_or_an_addition_is_no_harm() {
    let simulation =
        Simulation::read("Inst perl-base [1] (2 Debian [amd64])\nConf perl-base (2 x)\n", "", true);
    assert_eq!(simulation.harm(), None);
}

#[test]
fn what_would_be_downgraded_or_is_held_is_named() {
    let text = "The following held packages will be changed:\n  nginx\nThe following packages will be \
                DOWNGRADED:\n  libssl3 openssl\n  perl\n0 upgraded\nInst libssl3 [3] (2 Debian [amd64])\n";
    assert_eq!(
        Simulation::read(text, "", true).harm().unwrap(),
        "apt would downgrade libssl3 openssl perl; apt would change what is held: nginx"
    );
}

#[test]
fn where_apt_finds_no_way_it_is_quoted() {
    let text = "Reading package lists...\nThe following packages have unmet dependencies:\n qemu-system-x86 : \
                Depends: seabios (>= 2)\n                   but it is not going to be installed\n";
    let errors = "W: something\nE: Unable to correct problems, you have held broken packages.\n";
    assert_eq!(
        Simulation::read(text, errors, false).harm().unwrap(),
        "apt cannot install it: qemu-system-x86 : Depends: seabios (>= 2); but it is not going to be installed; Unable \
         to correct problems, you have held broken packages."
    );
    let many = (1..=9).map(|number| format!(" lintian : Depends: lib{number}\n")).collect::<String>();
    let text = format!("The following packages have unmet dependencies:\n{many}");
    let harm = Simulation::read(&text, "E: Unmet dependencies.\n", false).harm().unwrap();
    assert!(harm.ends_with("lintian : Depends: lib3; and 6 more; Unmet dependencies."), "{harm}");
}

#[test]
fn sizes_are_apts_own() {
    for (text, download, disk) in [
        (
            "Need to get 18.2 MB of archives.\nAfter this operation, 89.1 MB of additional disk space will be used.\n",
            "18.2 MB",
            "89.1 MB",
        ),
        (
            "Need to get 386 kB/2,915 kB of archives.\nAfter this operation, 12 kB disk space will be freed.\n",
            "386 kB",
            "nothing",
        ),
    ] {
        assert_eq!(Size::read(text), Some(Size { download: download.to_owned(), disk: disk.to_owned() }));
    }
    assert_eq!(Size::read("E: Unable to locate package nginx\n"), None);
}

/// An apt in which `qemu` would remove something, and `lintian` something if `held` is there, too.
fn fake(packages: &[String]) -> Result<Simulation> {
    let has = |name: &str| packages.iter().any(|package| package == name);
    let removes = if has("qemu") || (has("lintian") && has("held")) { names(&["other"]) } else { Vec::new() };
    Ok(Simulation { removes, ..Simulation::default() })
}

#[test]
fn one_packages_trouble_is_its_own() {
    let sorted = sort_out(&names(&["nginx", "qemu", "held", "lintian", "curl"]), fake).unwrap();
    assert_eq!(sorted.harmless, names(&["nginx", "held", "curl"]));
    let harmful = sorted.harmful.iter().map(|(name, why)| format!("{name}: {why}")).collect::<Vec<_>>();
    assert_eq!(harmful, ["qemu: apt would remove other", "lintian: apt would remove other"]);
}

#[test]
fn without_trouble_apt_is_asked_once() {
    let mut asked = 0;
    let sorted = sort_out(&names(&["nginx", "curl"]), |packages| {
        asked += 1;
        fake(packages)
    });
    assert_eq!((sorted.unwrap().harmless, asked), (names(&["nginx", "curl"]), 1));
    assert_eq!(sort_out(&[], fake).unwrap(), Sorted::default());
}
