//! Orders, and what is left when they are taken back.

use std::time::Duration;

use super::*;
use crate::{
    changes::{Names, effective},
    config::{Admin, HostFacts, Listed},
};

const FILE: &str = "vip = \"10.0.0.10\"\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"s\"\nport = 80\n";

fn file(replicas: &[u8]) -> Config {
    let listed: String = replicas
        .iter()
        .map(|last| format!("[[replica]]\nname = \"r{last}\"\naddress = \"10.0.0.{last}\"\n"))
        .collect();
    let host = HostFacts { ephemeral_ports: 32_768..=60_999 };
    Config::parse(&format!("{FILE}{listed}"), "test.toml", &[], &host)
        .unwrap_or_else(|error| panic!("{error}"))
}

fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

/// What an order does.
type Does<'a> = &'a dyn Fn(&mut Changes);

fn at(seconds: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn settled(file: &Config, changes: &Changes) -> Changes {
    effective(file, &Names::new(), changes).changes
}

/// Gives an order, as the agent does.
fn order(file: &Config, changes: &mut Changes, seconds: u64, words: &str, order: impl FnOnce(&mut Changes)) {
    let mut new = changes.clone();
    order(&mut new);
    new.ordered(changes, at(seconds));
    let mut new = settled(file, &new);
    new.remember(changes, words.to_owned(), at(seconds), None);
    *changes = new;
}

fn take_back(file: &Config, changes: &mut Changes) -> Result<String, String> {
    let before = changes.clone();
    let config = effective(file, &Names::new(), changes).config;
    let taken = changes.take_back(&config).map(|step| step.order).map_err(|error| error.to_string());
    assert!(taken.is_ok() || *changes == before, "refused, and changed");
    taken
}

fn added(last: u8) -> Listed {
    let host = Host::Address(ip(last));
    Listed { name: host.to_string(), host, weight: 100, slow_start: Duration::ZERO, backup: false }
}

#[test]
fn each_order_is_taken_back_in_turn_and_leaves_what_was_there_before_it() {
    let file = file(&[11, 12, 13]);
    let mut changes = Changes::default();
    let mut states = Vec::new();
    let orders: [(&str, Does<'_>); 7] = [
        ("drain r11 r12", &|changes| {
            [11, 12].into_iter().for_each(|last| changes.set_admin("s", ip(last), Admin::Drain));
        }),
        ("maint r11", &|changes| changes.set_admin("s", ip(11), Admin::Maint)),
        ("weight r11 7", &|changes| changes.set_weight("s", ip(11), Some(7))),
        ("add 10.0.0.14", &|changes| changes.add("s", added(14))),
        ("remove r11", &|changes| changes.remove("s", ip(11))),
        ("remove 10.0.0.14", &|changes| changes.remove("s", ip(14))),
        ("ready r12", &|changes| changes.set_admin("s", ip(12), Admin::Ready)),
    ];
    for (place, (words, does)) in orders.iter().enumerate() {
        states.push(changes.clone());
        order(&file, &mut changes, place as u64, words, does);
    }
    for (words, _) in orders.iter().rev() {
        // It outlives the agent.
        changes = serde_json::from_str(&serde_json::to_string(&changes).unwrap()).unwrap();
        assert_eq!(changes.last_order().map(|step| step.order.as_str()), Some(*words));
        assert_eq!(take_back(&file, &mut changes), Ok((*words).to_owned()));
        assert_eq!(changes, states.pop().unwrap(), "after taking back `{words}`");
    }
    assert!(changes.is_empty());
    let error = take_back(&file, &mut changes).expect_err("there is none left");
    assert!(error.starts_with("there is no order to take back"), "{error}");
}

#[test]
fn an_order_that_changes_nothing_is_none_and_of_many_the_last_are_kept() {
    let file = file(&[11, 12]);
    let mut changes = Changes::default();
    order(&file, &mut changes, 1, "ready r11", |changes| changes.set_admin("s", ip(11), Admin::Ready));
    assert!(changes.last_order().is_none());
    for weight in 0..40 {
        let words = format!("weight r11 {weight}");
        order(&file, &mut changes, weight.into(), &words, |changes| {
            changes.set_weight("s", ip(11), Some(weight));
        });
    }
    order(&file, &mut changes, 50, "again", |changes| changes.set_weight("s", ip(11), Some(39)));
    let mut taken = 0;
    while take_back(&file, &mut changes).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, MOST_STEPS);
    assert_eq!(effective(&file, &Names::new(), &changes).config.services[0].replicas[0].weight, 23);
}

#[test]
fn what_a_reload_has_changed_since_is_not_overwritten() {
    let all = file(&[11, 12]);
    for (words, does) in [
        ("drain r12", (&|changes: &mut Changes| changes.set_admin("s", ip(12), Admin::Drain)) as Does<'_>),
        ("remove r12", &|changes| changes.remove("s", ip(12))),
    ] {
        let mut changes = Changes::default();
        order(&all, &mut changes, 1, words, does);
        // The file has it no more.
        let less = file(&[11]);
        let mut changes = settled(&less, &changes);
        let error = take_back(&less, &mut changes).expect_err("it is gone");
        assert_eq!(
            error,
            format!(
                "`{words}` cannot be taken back: service `s` has no replica `10.0.0.12` any more, as the config was changed since; \
                 give an order that says what is wanted instead"
            )
        );
        // Nor the service.
        let other = Config { services: Vec::new(), ..less };
        let mut changes = settled(&other, &changes);
        let error = take_back(&other, &mut changes).expect_err("it is gone");
        assert!(error.contains("the config has no service `s` any more"), "{error}");
    }
    // The file has come to say the weight by itself.
    let mut changes = Changes::default();
    order(&all, &mut changes, 1, "weight r11 7", |changes| changes.set_weight("s", ip(11), Some(7)));
    let mut same = all.clone();
    same.services[0].listed[0].weight = 7;
    let mut changes = settled(&same, &changes);
    let error = take_back(&same, &mut changes).expect_err("it is as the file says");
    assert!(
        error.contains("the order left it given weight 7, and now it is as the config file says"),
        "{error}"
    );
}

#[test]
fn what_other_replicas_came_to_be_stays() {
    let file = file(&[11, 12]);
    let mut changes = Changes::default();
    order(&file, &mut changes, 1, "drain r11", |changes| changes.set_admin("s", ip(11), Admin::Drain));
    // An older agent, say, without steps.
    changes.set_admin("s", ip(12), Admin::Maint);
    take_back(&file, &mut changes).expect("it is as it was left");
    let replicas = effective(&file, &Names::new(), &changes).config.services[0].replicas.clone();
    assert_eq!([replicas[0].admin, replicas[1].admin], [Admin::Ready, Admin::Maint]);
}

#[test]
fn since_when_is_that_of_the_order_that_is_in_force() {
    let file = file(&[11, 12]);
    let mut changes = Changes::default();
    order(&file, &mut changes, 1, "drain r11", |changes| changes.set_admin("s", ip(11), Admin::Drain));
    order(&file, &mut changes, 2, "drain r11 r12", |changes| {
        [11, 12].into_iter().for_each(|last| changes.set_admin("s", ip(last), Admin::Drain));
    });
    let since = |changes: &Changes| [11, 12].map(|last| changes.ordered_at("s", ip(last)));
    assert_eq!(since(&changes), [Some(at(1)), Some(at(2))], "the first was drained already");
    order(&file, &mut changes, 3, "maint r11", |changes| changes.set_admin("s", ip(11), Admin::Maint));
    assert_eq!(since(&changes), [Some(at(3)), Some(at(2))]);
    take_back(&file, &mut changes).expect("it is as it was left");
    assert_eq!(since(&changes), [Some(at(1)), Some(at(2))]);
}

#[test]
fn a_file_that_is_too_long_is_not_kept_and_that_is_said() {
    let long = "#".repeat(LONGEST_FILE + 1);
    assert_eq!(FileTexts::new(String::new(), long), FileTexts::TooLong);
    let file = file(&[11]);
    let mut changes = Changes::default();
    changes.remember(
        &Changes::default(),
        "replica add 10.0.0.14 --save".into(),
        at(1),
        Some(FileTexts::TooLong),
    );
    let error = take_back(&file, &mut changes).expect_err("its text is not kept");
    assert!(error.contains("256 KiB") && error.contains("by hand"), "{error}");
}
