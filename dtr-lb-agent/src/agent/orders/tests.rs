use super::*;
use crate::{
    changes::{Names, effective},
    config::HostFacts,
};

const CONFIG: &str = r#"
vip = "10.0.0.10"
interfaces = ["eth0"]
[[replica]]
name = "r1"
address = "10.0.0.11"
[[replica]]
name = "r2"
address = "10.0.0.12"
[[service]]
name = "http"
port = 80
[[service]]
name = "https"
port = 443
replicas = ["r1"]
"#;

fn config() -> Config {
    let host = HostFacts { ephemeral_ports: 32768..=60999 };
    let file = Config::parse(CONFIG, "test", &[], &host).unwrap_or_else(|error| panic!("{error}"));
    effective(&file, &Names::new(), &Changes::default()).config
}

/// The replicas of both services after these orders, as "name@weight/order"; or why one was refused.
fn after(orders: &[&str]) -> Result<[String; 2], String> {
    let file = config();
    let mut changes = Changes::default();
    for order in orders {
        let order: ReplicaOrder = serde_json::from_str(order).map_err(|error| error.to_string())?;
        let now = effective(&file, &Names::new(), &changes).config;
        let before = changes.clone();
        apply(&order, &now, &mut changes).map_err(|refusal| {
            assert_eq!(changes, before, "refused, and changed");
            format!("{:?}: {}", refusal.kind, refusal.message)
        })?;
    }
    let config = effective(&file, &Names::new(), &changes).config;
    Ok([0, 1].map(|service| {
        let replicas = config.services[service].replicas.iter();
        let of = |replica: &Replica| format!("{}@{}/{}", replica.name, replica.weight, replica.admin);
        replicas.map(of).collect::<Vec<_>>().join(" ")
    }))
}

#[test]
fn orders_do_what_they_say() {
    let cases: [(&[&str], [&str; 2]); 15] = [
        (&[], ["r1@100/ready r2@100/ready", "r1@100/ready"]),
        (&[r#"{"action":"drain","replica":"r1"}"#], ["r1@100/drain r2@100/ready", "r1@100/drain"]),
        (
            &[r#"{"action":"drain","replica":["r2","r1","10.0.0.12"]}"#],
            ["r1@100/drain r2@100/drain", "r1@100/drain"],
        ),
        (
            &[r#"{"action":"maint","replica":["r1","r2"],"service":"http"}"#],
            ["r1@100/maint r2@100/maint", "r1@100/ready"],
        ),
        (
            &[r#"{"action":"maint","replica":"10.0.0.11","service":"https"}"#],
            ["r1@100/ready r2@100/ready", "r1@100/maint"],
        ),
        (
            &[
                r#"{"action":"maint","replica":"r1"}"#,
                r#"{"action":"ready","replica":"r1","service":"http"}"#,
            ],
            ["r1@100/ready r2@100/ready", "r1@100/maint"],
        ),
        (&[r#"{"action":"weight","replica":"r2","weight":0}"#], ["r1@100/ready r2@0/ready", "r1@100/ready"]),
        (
            &[r#"{"action":"drain","replica":"r2"}"#, r#"{"action":"weight","replica":"r2","weight":256}"#],
            ["r1@100/ready r2@256/drain", "r1@100/ready"],
        ),
        (
            &[r#"{"action":"add","address":"10.0.0.13"}"#],
            ["r1@100/ready r2@100/ready 10.0.0.13@100/ready", "r1@100/ready 10.0.0.13@100/ready"],
        ),
        (
            &[r#"{"action":"add","address":"10.0.0.12","name":"other","weight":7,"services":["https"]}"#],
            ["r1@100/ready r2@100/ready", "r1@100/ready other@7/ready"],
        ),
        (&[r#"{"action":"remove","replica":"r2"}"#], ["r1@100/ready", "r1@100/ready"]),
        (&[r#"{"action":"remove","replica":"r1","last":true}"#], ["r2@100/ready", ""]),
        (
            &[
                r#"{"action":"remove","replica":"r1","service":"http"}"#,
                r#"{"action":"add","address":"10.0.0.11","services":["http"],"weight":5}"#,
            ],
            ["r1@5/ready r2@100/ready", "r1@100/ready"],
        ),
        (
            &[r#"{"action":"add","address":"DTR.example.com","services":["https"]}"#],
            ["r1@100/ready r2@100/ready", "r1@100/ready"],
        ),
        (
            &[
                r#"{"action":"add","address":"dtr.example.com"}"#,
                r#"{"action":"remove","replica":"dtr.example.com"}"#,
            ],
            ["r1@100/ready r2@100/ready", "r1@100/ready"],
        ),
    ];
    for (orders, expected) in cases {
        assert_eq!(after(orders), Ok(expected.map(str::to_owned)), "{orders:?}");
    }
}

#[test]
fn what_is_saved_is_what_was_ordered() {
    let saved = |order: &str| {
        let config = config();
        let order: ReplicaOrder = serde_json::from_str(order).expect("an order");
        let targets = apply(&order, &config, &mut Changes::default()).expect("it can be done");
        edit(&order, &config, &targets).map_err(|refusal| refusal.message)
    };
    let both = vec!["http".to_owned(), "https".to_owned()];
    let r1 = || "r1".to_owned();
    assert_eq!(
        saved(r#"{"action":"weight","replica":"10.0.0.11","weight":7,"save":true}"#),
        Ok(Some(Edit::Weight { replica: r1(), weight: 7 }))
    );
    assert_eq!(saved(r#"{"action":"weight","replica":"r1","weight":7}"#), Ok(None));
    assert_eq!(
        saved(r#"{"action":"remove","replica":"r1","save":true,"last":true}"#),
        Ok(Some(Edit::Remove { replica: r1(), services: both.clone() }))
    );
    let added = saved(r#"{"action":"add","address":"10.0.0.13","weight":7,"save":true}"#);
    let Ok(Some(Edit::Add { replica, services })) = added else { panic!("{added:?}") };
    assert_eq!((replica.name.as_str(), replica.weight, services), ("10.0.0.13", 7, both));
    let refused = saved(r#"{"action":"weight","replica":"r1","service":"http","weight":7,"save":true}"#);
    assert!(refused.is_err_and(|message| message.contains("one weight")));
}

#[test]
fn what_cannot_be_done_is_refused_with_what_there_is() {
    let cases = [
        (r#"{"action":"drain","replica":"r9"}"#, "NotFound", "r1 (10.0.0.11), r2 (10.0.0.12)"),
        (
            r#"{"action":"drain","replica":"r2","service":"https"}"#,
            "NotFound",
            "service `https` has no replica `r2`; there are: r1 (10.0.0.11)",
        ),
        (r#"{"action":"maint","replica":"r1","service":"ftp"}"#, "NotFound", "there are: http, https"),
        (r#"{"action":"weight","replica":"r1","weight":257}"#, "BadRequest", "0 to 256"),
        (r#"{"action":"add","address":"10.0.0.11"}"#, "Conflict", "as replica r1"),
        (r#"{"action":"add","address":"10.0.0.13","name":"r1"}"#, "Conflict", "--name"),
        (r#"{"action":"add","address":"127.0.0.1"}"#, "BadRequest", "loopback"),
        (r#"{"action":"add","address":"a b"}"#, "BadRequest", "neither an IP address nor a host name"),
        (r#"{"action":"add","address":"10.0.0.13","name":"a b"}"#, "BadRequest", "name"),
        (r#"{"action":"add","address":"10.0.0.13","services":["ftp"]}"#, "NotFound", "http, https"),
        (r#"{"action":"remove","replica":"r1"}"#, "Conflict", "the last one of service `https`"),
        (r#"{"action":"remove","replica":"dtr.example.com"}"#, "NotFound", "r1 (10.0.0.11)"),
    ];
    for (order, kind, words) in cases {
        let refused = after(&[order]).expect_err(order);
        assert!(refused.starts_with(kind) && refused.contains(words), "{order}: {refused}");
    }
    for order in
        [r#"{"action":"drian","replica":"r1"}"#, r#"{"action":"drain","replica":"r1","save":true}"#, "{}"]
    {
        after(&[order]).expect_err("it is no order");
    }
}

#[test]
fn several_replicas_are_one_order_and_none_is_changed_if_one_is_not_there() {
    let refused = |order: &str| after(&[order]).expect_err("it names what is not there");
    assert_eq!(
        refused(r#"{"action":"drain","replica":["r1","r8","r9","r8"]}"#),
        "NotFound: no service has a replica `r8`; there are: r1 (10.0.0.11), r2 (10.0.0.12); no service has a replica `r9`; there \
         are: r1 (10.0.0.11), r2 (10.0.0.12); none of them is changed"
    );
    assert_eq!(
        refused(r#"{"action":"drain","replica":["r1","r2"],"service":"ftp"}"#),
        "NotFound: there is no service `ftp`; there are: http, https; none of them is changed"
    );
    assert_eq!(refused(r#"{"action":"ready","replica":[]}"#), "BadRequest: the order names no replica");
    assert!(refused(r#"{"action":"ready","replica":7}"#).contains("a name or an address, or a list of them"));
    let both: ReplicaOrder =
        serde_json::from_str(r#"{"action":"drain","replica":["r1","r2"],"service":"s"}"#).expect("an order");
    assert_eq!(both.to_string(), "replica drain r1 r2 --service s");
    let one = r#"{"action":"drain","replica":"r1","service":null}"#;
    let order: ReplicaOrder = serde_json::from_str(one).expect("an order");
    assert_eq!(serde_json::to_string(&order).expect("JSON"), one, "as agents of before took it");
}
