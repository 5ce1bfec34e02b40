//! Keys whose feature is not in this version: refused with what to write instead.

use super::{problems, short_and};

#[test]
fn what_this_version_lacks_is_refused() {
    let cases = [(
        short_and("[[replica]]\naddress = \"dtr1.example.com\""),
        8,
        "replica[2].address = \"dtr1.example.com\"",
        "IP address",
    )];
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
