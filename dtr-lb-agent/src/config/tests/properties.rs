//! Whatever is written, the answer is a config or an error that says where: never a panic.

use proptest::prelude::*;

use super::{Place, host, short_and};
use crate::config::keys::all;
use crate::config::{Config, ConfigError};

/// Lines that get further than noise does: known keys with values of all kinds.
fn line() -> impl Strategy<Value = String> {
    let key = prop::sample::select(all()).prop_map(|(_, key)| key.name);
    let header = prop::sample::select(vec![
        "[datapath]",
        "[[service]]",
        "[service.probe]",
        "[[replica]]",
        "[agent]",
        "[service]",
        "[[service.probe]]",
    ]);
    let value = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}")),
        any::<bool>().prop_map(|yes| yes.to_string()),
        any::<std::net::Ipv4Addr>().prop_map(|address| format!("\"{address}\"")),
        "[0-9]{1,5}-[0-9]{1,5}".prop_map(|ports| format!("\"{ports}\"")),
        "[0-9]{1,20}(ms|s|h|%|y)".prop_map(|duration| format!("\"{duration}\"")),
        "[ -~]{0,20}".prop_map(|text| format!("'{}'", text.replace('\'', ""))),
        "\\PC{0,10}".prop_map(|text| format!("[{text:?}, {text:?}]")),
        Just("{ name = \"a\" }".to_owned()),
        Just("[[], {}]".to_owned()),
    ];
    prop_oneof![
        3 => (key, value).prop_map(|(key, value)| format!("{key} = {value}\n")),
        1 => header.prop_map(|header| format!("{header}\n")),
    ]
}

fn answers(text: &str, overrides: &[String]) -> Result<(), TestCaseError> {
    if let Err(error) = Config::parse(text, "any.toml", overrides, &host()) {
        let ConfigError::Invalid(problems) = &error else {
            return Err(TestCaseError::fail(format!("not about the text: {error}")));
        };
        prop_assert!(!problems.is_empty());
        prop_assert_eq!(error.to_string().lines().count(), problems.len());
        let lines = text.matches('\n').count() + 1;
        for problem in problems {
            match &problem.place {
                Place::File { line, column, .. } => prop_assert!((1..=lines).contains(line) && *column >= 1),
                Place::Override(item) => prop_assert!(overrides.contains(item)),
                Place::Option(option) => {
                    return Err(TestCaseError::fail(format!("no option was given: {option}")));
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        answers(&String::from_utf8_lossy(&bytes), &[])?;
    }

    #[test]
    fn any_text(text in "(\\PC|[\n\r\t\"'=\\[\\]{}#.])*") {
        answers(&text, &[])?;
    }

    #[test]
    fn any_lines(lines in prop::collection::vec(line(), 0..20)) {
        answers(&lines.concat(), &[])?;
        answers(&short_and(&lines.concat()), &[])?;
    }

    #[test]
    fn any_cut_of_the_reference(at in any::<prop::sample::Index>(), extra in "\\PC{0,4}") {
        let text = include_str!("../../../../examples/dtr-lb.toml");
        let at = at.index(text.len());
        if text.is_char_boundary(at) {
            answers(&format!("{}{extra}{}", &text[..at], &text[at..]), &[])?;
            answers(&text[..at], &[])?;
        }
    }

    #[test]
    fn any_overrides(
        key in prop::sample::select(all()),
        index in 0_usize..3,
        value in "\\PC{0,20}",
        noise in "\\PC{0,30}",
    ) {
        let key = key.0.replace("service.", &format!("service.{index}."));
        let key = key.replace("replica.", &format!("replica[{index}]."));
        let text = short_and("[[service]]\nname = \"a\"\nport = 1\n");
        answers(&text, &[format!("{key}={value}"), noise])?;
    }
}
