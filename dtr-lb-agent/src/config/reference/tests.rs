//! The documents in the repository say what the declarations say. `cargo xtask docs` writes them anew.

use std::path::Path;

use super::*;

/// Markdown's table of the keys of `table`; without the tables in it.
fn rows(table: &str) -> String {
    let level =
        if table.is_empty() { keys::FILE } else { (keys::find(table).expect("a table").about)().below };
    let cell = |text: &str| text.replace('|', "\\|");
    let mut rows = "| key | takes | default | what it is |\n|---|---|---|---|\n".to_owned();
    for key in keys::in_level(level) {
        let About { takes, default, header, values, .. } = (key.about)();
        if !header.is_empty() {
            continue;
        }
        let mut help = key.help();
        for (word, meaning) in values {
            help.push_str(&format!("<br>`\"{word}\"`: {meaning}"));
        }
        rows.push_str(&format!(
            "| `{}` | {} | {} | {} |\n",
            key.name,
            cell(&takes),
            cell(&default),
            cell(&help)
        ));
    }
    rows
}

/// The text with each table between its marks as it is by the declarations.
fn with_tables(text: &str) -> String {
    let mut parts = text.split("<!-- keys: ");
    let mut made = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(" -->").expect("the mark ends on its line");
        let (_, rest) = rest.split_once("<!-- end of keys -->").expect("an end of each table");
        let table = if name == "top level" { "" } else { name };
        made.push_str(&format!("<!-- keys: {name} -->\n{}<!-- end of keys -->{rest}", rows(table)));
    }
    made
}

/// Compares, or, where `cargo xtask docs` asks for it, writes.
fn check(file: &str, made: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let text = std::fs::read_to_string(&path).expect("it is in the repository");
    let made = made(&text);
    if std::env::var_os("DTR_LB_WRITE_DOCS").is_some() {
        std::fs::write(&path, made).expect("it can be written");
    } else {
        assert!(text == made, "{file} is not what the declarations of the keys say: run `cargo xtask docs`");
    }
}

#[test]
fn the_documentation_has_each_key_as_it_is_declared() {
    check("docs/configuration.md", with_tables);
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md"));
    let text = text.expect("it is in the repository");
    let tables: Vec<_> =
        text.split("<!-- keys: ").skip(1).filter_map(|part| part.split(" -->").next()).collect();
    let mut known: Vec<_> = keys::all()
        .iter()
        .filter(|(_, key)| !(key.about)().below.is_empty())
        .map(|(name, _)| name.clone())
        .collect();
    known.insert(0, "top level".to_owned());
    assert_eq!(tables, known, "each table is documented, in the order of the reference");
}

#[test]
fn the_example_has_each_key_as_it_is_declared() {
    check("examples/dtr-lb.toml", |_| every_key());
}

#[test]
fn links_are_only_for_markdown() {
    assert_eq!(plain("a [b c](d.md#e), `[\"x\"]` [f](#g)."), "a b c, `[\"x\"]` f.");
}
