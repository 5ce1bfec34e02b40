use super::*;
use crate::programs::PROGRAMS;

/// A fresh Debian machine: root, with nothing but rustup's stable.
fn fresh() -> Facts {
    Facts {
        chosen: route::NIGHTLY.to_owned(),
        overridden: false,
        fault: Some(Fault::Absent { toolchain: route::NIGHTLY.to_owned() }),
        linker_installed: false,
        linker: false,
        nightly_works: false,
        distro: Some(Distro {
            compiler: vec!["rustc-web".to_owned()],
            linker: vec!["llvm-22-dev".to_owned()],
            llvm: 22,
            directory: "/data/bpf".into(),
            cargo: "/stable/bin/cargo".into(),
        }),
        programs: PROGRAMS.to_vec(),
        dashboard_missing: false,
        npm: true,
        apt: true,
        root: true,
    }
}

fn ready() -> Facts {
    Facts { fault: None, linker_installed: true, linker: true, programs: Vec::new(), ..fresh() }
}

fn trial() -> Fault {
    Fault::Trial { toolchain: String::new(), linker: PathBuf::new(), why: String::new() }
}

/// The plan where no package does harm.
fn plan(facts: &Facts) -> Plan {
    let harmless = |packages: &[String]| {
        let sorted = Sorted { harmless: packages.to_vec(), harmful: Vec::new() };
        Ok((sorted, Some(Size { download: "12 MB".to_owned(), disk: "34 MB".to_owned() })))
    };
    Plan::new(facts, &mut { harmless }).expect("a plan")
}

/// The plan where this package would remove something.
fn plan_with_harm(facts: &Facts, harmful: &str) -> Plan {
    let judge = |packages: &[String]| {
        let (harmful, harmless) = packages.iter().cloned().partition::<Vec<_>, _>(|name| name == harmful);
        let harmful = harmful.into_iter().map(|name| (name, "apt would remove other".to_owned())).collect();
        Ok((Sorted { harmless, harmful }, None))
    };
    Plan::new(facts, &mut { judge }).expect("a plan")
}

/// The steps by kind, packages by name.
fn outline(plan: &Plan) -> Vec<String> {
    let steps = plan.steps.iter().flat_map(|step| match step {
        Step::Packages { wanted, .. } => wanted.iter().map(|(name, _)| name.clone()).collect(),
        Step::Unpack { program, .. } => vec![format!("UNPACK {}", program.name)],
        Step::Link { .. } => vec!["LINK".to_owned()],
        Step::Unlink => vec!["UNLINK".to_owned()],
        Step::Linker { llvm } => vec![format!("LINKER {llvm}")],
        Step::Dashboard => vec!["DASHBOARD".to_owned()],
    });
    steps.collect()
}

#[test]
fn nothing_missing_means_nothing_to_do() {
    assert!(plan(&ready()).is_empty());
    assert!(plan(&Facts { root: false, apt: false, distro: None, ..ready() }).is_empty());
}

#[test]
fn only_what_is_missing_is_planned() {
    let nothing = Distro { compiler: Vec::new(), linker: Vec::new(), ..fresh().distro.unwrap() };
    let linked = Facts { chosen: route::LINKED.to_owned(), distro: Some(nothing), ..ready() };
    let no_linker =
        Facts { fault: Some(Fault::NoLinker), linker_installed: false, linker: false, ..linked.clone() };
    let broken = Facts {
        linker_installed: true,
        distro: fresh().distro,
        fault: Some(Fault::LinkerBroken { path: PathBuf::new(), why: String::new() }),
        ..no_linker.clone()
    };
    let broken_with_llvm = Facts { distro: linked.distro.clone(), ..broken.clone() };
    let broken_link = Facts { fault: Some(Fault::Absent { toolchain: String::new() }), ..linked.clone() };
    let iproute2 = PROGRAMS.into_iter().find(|program| program.name == "ip").expect("the lab runs it");
    let cases = [
        (
            "fresh, build only",
            Facts { programs: Vec::new(), ..fresh() },
            "rustc-web llvm-22-dev LINK LINKER 22",
        ),
        ("one program", Facts { programs: vec![iproute2], ..ready() }, "iproute2"),
        ("dashboard", Facts { dashboard_missing: true, ..ready() }, "DASHBOARD"),
        ("dashboard, no npm", Facts { dashboard_missing: true, npm: false, ..ready() }, "npm DASHBOARD"),
        ("no linker", no_linker, "LINKER 22"),
        ("linker without its LLVM", broken, "rustc-web llvm-22-dev"),
        ("linker broken beside its LLVM", broken_with_llvm, "LINKER 22"),
        ("outdated link", broken_link.clone(), "LINK"),
        ("outdated link, nightly works", Facts { nightly_works: true, ..broken_link }, "UNLINK"),
        ("linker too old", Facts { fault: Some(trial()), ..linked.clone() }, "LINKER 22"),
        // The linker that does not go with nightly may go with the distribution's compiler: tried first.
        (
            "nightly's linker too old",
            Facts { chosen: route::NIGHTLY.to_owned(), fault: Some(trial()), ..linked },
            "LINK",
        ),
    ];
    for (name, facts, want) in cases {
        let plan = plan(&facts);
        assert_eq!(outline(&plan).join(" "), want, "{name}");
        assert_eq!(plan.by_hand, [""; 0], "{name}");
    }
}

#[test]
fn without_root_the_commands_are_shown_in_order() {
    let plan = plan(&Facts { root: false, ..fresh() });
    let commands = plan.by_hand.join("\n");
    let places = [
        "sudo apt-get update",
        "sudo apt-get install --no-install-recommends rustc-web llvm-22-dev iproute2",
        "sudo systemctl disable --now nginx haproxy docker-registry",
        "ln -sfn /usr/bin/rustc '/data/bpf'/bin/rustc",
        "rustup toolchain link dtr-lb-bpf '/data/bpf'",
        "LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker",
    ]
    .map(|command| commands.find(command).unwrap_or_else(|| panic!("{command} is not in\n{commands}")));
    assert!(places.is_sorted(), "{commands}");
}

#[test]
fn without_root_what_needs_no_root_is_still_done() {
    let facts = Facts { programs: Vec::new(), root: false, ..fresh() };
    let distro = Distro { compiler: Vec::new(), linker: Vec::new(), ..fresh().distro.unwrap() };
    let plan = plan(&Facts { distro: Some(distro), ..facts });
    assert_eq!(outline(&plan), ["LINK", "LINKER 22"]);
    assert_eq!(plan.by_hand, [""; 0]);
}

#[test]
fn elsewhere_upstreams_route_and_the_programs_are_named() {
    let plan = plan(&Facts { distro: None, apt: false, ..fresh() });
    let text = plan.by_hand.join("\n");
    for part in ["rustup toolchain install nightly --component rust-src", "bpf-linker", "nginx", " ip "] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains("apt-get"), "{text}");
}

#[test]
fn a_toolchain_that_the_developer_named_is_not_touched() {
    for (fault, part) in [
        (Fault::Absent { toolchain: "mine".to_owned() }, "rustup toolchain install mine"),
        (Fault::NoCore { toolchain: "mine".to_owned() }, "rust-src --toolchain mine"),
        (Fault::NoLinker, "a bpf-linker on PATH"),
        (trial(), "no older than that of mine"),
    ] {
        let facts = Facts { chosen: "mine".to_owned(), overridden: true, fault: Some(fault), ..ready() };
        let plan = plan(&facts);
        assert!(plan.steps.is_empty() && plan.by_hand[0].contains(part), "{plan:?}");
        assert!(plan.by_hand[1].contains("unset DTR_LB_BPF_TOOLCHAIN"), "{plan:?}");
    }
}

#[test]
fn every_step_says_what_it_is() {
    for step in plan(&fresh()).steps.iter().chain([&Step::Unlink]) {
        assert!(!step.describe().is_empty() && !step.commands().is_empty(), "{step:?}");
    }
}

#[test]
fn a_program_that_would_do_harm_is_unpacked_and_the_others_are_installed() {
    let wanted = ["nginx", "qemu-system-x86_64", "prometheus", "promtool"];
    let programs: Vec<_> = PROGRAMS.into_iter().filter(|program| wanted.contains(&program.name)).collect();
    let facts = Facts { programs, ..ready() };
    assert_eq!(
        outline(&plan_with_harm(&facts, "qemu-system-x86")),
        ["nginx", "prometheus", "prometheus", "UNPACK qemu-system-x86_64"]
    );
    assert_eq!(
        outline(&plan_with_harm(&facts, "prometheus")),
        ["nginx", "qemu-system-x86", "UNPACK prometheus", "UNPACK promtool"]
    );
    // Unpacking needs no root, so nobody is asked to do it by hand.
    let alone = Facts { programs: facts.programs[1..3].to_vec(), root: false, ..facts };
    assert_eq!(plan_with_harm(&alone, "prometheus").by_hand, [""; 0]);
}

#[test]
fn the_build_is_not_unpacked_and_the_harm_is_told() {
    let plan = plan_with_harm(&fresh(), "rustc-web");
    assert_eq!(plan.blocked[0].0, "rustc-web");
    assert_eq!(plan.blocked[0].2, "apt would remove other");
    assert!(!outline(&plan).contains(&"rustc-web".to_owned()));
}

#[test]
fn what_is_installed_is_told_with_its_reasons_and_its_size() {
    let wanted = ["nginx", "prometheus", "promtool"];
    let programs: Vec<_> = PROGRAMS.into_iter().filter(|program| wanted.contains(&program.name)).collect();
    let text = plan(&Facts { programs, ..ready() }).steps[0].describe().join("\n");
    let lines = text.lines().collect::<Vec<_>>();
    assert_eq!(
        lines,
        [
            "install 2 packages by apt; with what they depend on 12 MB to download, 34 MB on disk",
            "  nginx: a replica's front end in the lab",
            "  prometheus: reads the metrics in a scenario",
            "  prometheus: checks metrics and alert rules",
        ]
    );
}
