//! Commands that were copied along with a config: `docker run ...`, `$ cat nginx.conf`.

use crate::report::{FileId, Ledger};

/// No line of a config begins with one of these, without a blank before it.
const COMMANDS: [&str; 22] = [
    "docker",
    "podman",
    "sudo",
    "cat",
    "kubectl",
    "helm",
    "systemctl",
    "apt",
    "apt-get",
    "yum",
    "dnf",
    "apk",
    "vi",
    "vim",
    "nano",
    "mkdir",
    "chmod",
    "chown",
    "curl",
    "nginx",
    "haproxy",
    "aws",
];

/// The lines without commands, which are told.
pub(super) fn without_commands(lines: &[&str], file: FileId, ledger: &mut Ledger) -> String {
    let mut kept: Vec<&str> = Vec::with_capacity(lines.len());
    let mut index = 0;
    while index < lines.len() {
        if !is_command(lines[index]) {
            kept.push(lines[index]);
            index += 1;
            continue;
        }
        let first = index;
        while lines[index].trim_end().ends_with('\\') && index + 1 < lines.len() {
            index += 1;
        }
        index += 1;
        kept.extend(std::iter::repeat_n("", index - first));
        let named =
            if index == first + 1 { format!("line {index}") } else { format!("lines {}-{index}", first + 1) };
        let at = ledger.statement(file, (first + 1, index), &format!("{named}: a shell command"));
        ledger.left_out(at, "not a part of the config");
    }
    kept.join("\n")
}

fn is_command(line: &str) -> bool {
    let line = line.strip_prefix("$ ").unwrap_or(line);
    // What `nginx -T` says before it prints.
    if line.starts_with("#!") || line.starts_with("nginx: ") {
        return true;
    }
    let is_statement = line.trim_end().ends_with([';', '{', '}']);
    let mut words = line.split_whitespace();
    let is_first = words.next().is_some_and(|word| COMMANDS.contains(&word));
    // `root@host:~# cat nginx.conf`
    let is_prompt = line.split_once("# ").or_else(|| line.split_once("$ ")).is_some_and(|(prompt, _)| {
        prompt.contains('@') && prompt.contains(':') && !prompt.contains(char::is_whitespace)
    });
    (is_first && words.next().is_some() && !is_statement && !line.starts_with(char::is_whitespace))
        || is_prompt
}
