//! Whole configurations, as operators have them.

use crate::{Given, Import, Input, import, report::Row};

fn read(files: &[(&str, &str)]) -> Import {
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| Input { name: (*name).to_owned(), text: (*text).to_owned() })
        .collect();
    import(&files, &Given::default(), &|_| false).unwrap()
}

#[test]
fn explore() {
    for file in std::fs::read_dir("/tmp/kl-samples").unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let import = read(&[("k.conf", &text)]);
        println!("===== {}\n{}", path.display(), import.config);
        let show = |name: &str, rows: &[Row]| {
            for row in rows {
                println!(
                    "{name} {}{} {} | {} {}",
                    row.line,
                    row.last_line.map(|l| format!("-{l}")).unwrap_or_default(),
                    row.what,
                    row.why,
                    if row.decides { "!!" } else { "" }
                );
            }
        };
        show("TAKEN", &import.report.taken);
        show("DIFF ", &import.report.differs);
        show("LEFT ", &import.report.left_out);
        show("FAULT", &import.report.faults);
    }
}
