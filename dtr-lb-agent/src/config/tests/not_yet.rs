//! Keys whose feature is not in this version: refused with what to write instead, accepted when they ask for nothing.

use super::{problems, short_and, valid};

#[test]
fn what_this_version_lacks_is_refused() {
    let cases = [
        (
            short_and("[agent]\nhttp = \"127.0.0.1:8181\""),
            8,
            "agent.http = \"127.0.0.1:8181\"",
            "http = \"\"",
        ),
        (
            short_and("[agent]\nadmin_token_file = \"/etc/token\""),
            8,
            "agent.admin_token_file = \"/etc/token\"",
            "admin_token_file = \"\"",
        ),
    ];
    let version = format!("is not in this version of dtr-lb ({}); ", env!("CARGO_PKG_VERSION"));
    for (text, line, key, instead) in cases {
        let found = problems(&text);
        assert_eq!(found.len(), 1, "{found:?}");
        let message = found[0].to_string();
        let start = format!("test.toml:{line}:");
        assert!(message.starts_with(&start) && message.contains(&format!("`{key}`: ")), "{key}: {message}");
        let (_, advice) = message.split_once(&version).unwrap_or_else(|| panic!("{version}: {message}"));
        assert!(advice.contains(instead), "{instead}: {message}");
    }
}

#[test]
fn the_same_keys_pass_when_they_ask_for_nothing() {
    let text = short_and("[agent]\nhttp = \"\"\nadmin_token_file = \"\"\n");
    assert_eq!(valid(&text), valid(&short_and("")));
}
