//! Host names: what a probe sends as Host header and TLS server name.

use std::net::IpAddr;

use super::takes::Text;

/// Is this a DNS name that TLS can ask for too? Underscores pass: they are not RFC 1123, but they are in use.
///
/// A last label of digits only is a mistyped IPv4 address, and no top-level domain has one (RFC 3696, section 2).
pub(super) fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    let digits_last = name.rsplit('.').next().is_some_and(|last| last.chars().all(|c| c.is_ascii_digit()));
    name.len() <= 253 && name.split('.').all(label) && !digits_last
}

/// What a probe asks for.
pub(super) const PROBE_HOST: Text<String> = Text {
    words: "a DNS name or an IP address, in quotes, without a port",
    parse: |text| {
        let usable = is_host_name(text) || text.parse::<IpAddr>().is_ok();
        usable.then(|| text.to_owned()).ok_or_else(|| "neither a DNS name nor an IP address".to_owned())
    },
    show: String::clone,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are() {
        for name in ["dtr", "dtr.example.com", "a-b.c_d.e", "1and1.com", "xn--bcher-kva.example"] {
            assert!(is_host_name(name), "{name}");
        }
        assert!(is_host_name(&"a".repeat(63)));
    }

    #[test]
    fn names_that_are_not() {
        let long_label = "a".repeat(64);
        let long_name = ["abcdefg"; 32].join(".");
        for name in [
            "",
            ".",
            "a..b",
            "a.",
            "-a",
            "a-",
            "a b",
            "dtr.example.com:443",
            "http://dtr",
            "10.0.0.256",
            "bücher",
            &long_label,
            &long_name,
        ] {
            assert!(!is_host_name(name), "{name}");
        }
    }
}
