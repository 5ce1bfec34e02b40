use super::*;
use crate::report::Row;

/// By a word of each.
fn of(text: &str) -> Option<Format> {
    [
        ("stream {", Format::Nginx),
        ("frontend", Format::Haproxy),
        ("vrrp_instance", Format::Keepalived),
        ("\"ListenerDescriptions\"", Format::Elb),
    ]
    .into_iter()
    .find(|(word, _)| text.contains(word))
    .map(|(_, format)| format)
}

fn unwrapped(text: &str, from: &[Format]) -> (Result<Vec<Part>, Several>, Vec<Row>) {
    let mut ledger = Ledger::default();
    let file = ledger.file("a");
    let parts = unwrap(text, file, from, &of, &mut ledger);
    let report = ledger.into_report();
    let mut rows: Vec<Row> = report.left_out.into_iter().chain(report.faults).collect();
    rows.sort_by_key(|row| row.line);
    (parts, rows)
}

/// One part, and what was told of the rest: `first-last text`, with `!` if it decides.
#[track_caller]
fn one(text: &str, expected: &str, told: &[&str]) {
    let (parts, rows) = unwrapped(text, &[]);
    let parts = parts.unwrap();
    assert_eq!(parts.len(), 1, "{parts:?}");
    let shown = |text: &str| text.lines().map(|line| format!("|{line}\n")).collect::<String>();
    assert_eq!(shown(parts[0].text.trim_end()), shown(expected.trim_end()));
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            format!(
                "{}-{}{} {}",
                row.line,
                row.last_line.unwrap_or(row.line),
                if row.decides { "!" } else { "" },
                row.what
            )
        })
        .collect();
    assert_eq!(rows, told);
}

#[test]
fn a_bare_config_is_left_as_it_is() {
    let text = "# a\nstream {\n\tserver { listen 443; }\n}\n";
    one(text, text, &[]);
}

#[test]
fn fences_of_markdown_in_lists_with_tabs_or_blanks() {
    one(
        "# Title\n\n1. nginx\n\n\tProse.\n\t\n\t```\n\tstream {\n\t    a;\n\n\t}\n\t```\n\n\t```\n\tdocker run nginx\n\t```\n",
        "\n\n\n\n\n\n\nstream {\n    a;\n\n}",
        &["1-7 lines 1-7: Markdown around the config", "12-16 lines 12-16: Markdown around the config"],
    );
    one(
        "~~~~ nginx\nstream {\n}\n~~~\n~~~~\n",
        "\nstream {\n}\n~~~",
        &["1-1 line 1: Markdown around the config", "5-5 line 5: Markdown around the config"],
    );
    // Cut off.
    one(
        "```haproxy\nfrontend x\n  bind :80",
        "\nfrontend x\n  bind :80",
        &["1-1 line 1: Markdown around the config"],
    );
}

#[test]
fn a_document_with_several_formats_asks_for_one() {
    let text = "a\n```\nstream {\n}\n```\nb\n```\nfrontend x\n  bind :1\n```\n";
    let (parts, _) = unwrapped(text, &[]);
    assert_eq!(parts.unwrap_err().to_string(), "nginx in lines 3-4, haproxy in lines 8-9");
    let (parts, rows) = unwrapped(text, &[Format::Haproxy]);
    let parts = parts.unwrap();
    assert_eq!((parts.len(), parts[0].format), (1, Some(Format::Haproxy)));
    assert_eq!(parts[0].text.trim(), "frontend x\n  bind :1");
    let rows: Vec<_> = rows.iter().map(|row| row.what.as_str()).collect();
    assert_eq!(
        rows,
        [
            "lines 1-2: Markdown around the config",
            "lines 3-4: a config of nginx",
            "lines 5-7: Markdown around the config",
            "line 10: Markdown around the config"
        ]
    );
    // The VIP is in one, the servers are in the other.
    let text = "```\nvrrp_instance a {\n}\n```\n```\nfrontend x\n```\n";
    let parts = unwrapped(text, &[]).0.unwrap();
    let formats: Vec<_> = parts.iter().map(|part| part.format).collect();
    assert_eq!(formats, [Some(Format::Keepalived), Some(Format::Haproxy)]);
}

#[test]
fn manifests_and_playbooks() {
    one(
        "apiVersion: v1\nkind: ConfigMap\ndata:\n  haproxy.cfg: |-\n    frontend x\n      bind :80\n\n    backend y\n  other: |\n    text\n",
        "\n\n\n\nfrontend x\n  bind :80\n\nbackend y",
        &["1-4 lines 1-4: YAML around the config", "9-10 lines 9-10: YAML around the config"],
    );
    one(
        "- copy:\n    dest: /etc/x\n    content: |\n      stream {\n        server {{ a }}:1;\n      }\n  become: yes\n",
        "\n\n\nstream {\n  server <a>:1;\n}",
        &["1-3 lines 1-3: YAML around the config", "7-7 line 7: YAML around the config"],
    );
    one(
        "kubectl apply -f - <<EOF\ndata:\n  \"nginx.conf\": |\n    stream {\n      x \\$remote_addr;\n    }\nEOF\n",
        "\n\n\nstream {\n  x $remote_addr;\n}",
        &["1-3 lines 1-3: a script around the config", "7-7 line 7: a script around the config"],
    );
}

#[test]
fn scripts_with_heredocs_are_one_job() {
    let text = "#!/bin/sh\ncat > /etc/keepalived/keepalived.conf <<-'EOF'\n\tvrrp_instance a {\n\t}\n\tEOF\n# cat <<X\nsudo tee /etc/haproxy/haproxy.cfg <<\"END\" >/dev/null\nfrontend x\n  a \\$b\nEND\n";
    let (parts, rows) = unwrapped(text, &[]);
    let parts = parts.unwrap();
    assert_eq!(parts[0].text.trim(), "vrrp_instance a {\n\t}");
    assert_eq!(parts[1].text.trim(), "frontend x\n  a \\$b");
    assert_eq!(parts[1].text.lines().position(|line| line == "frontend x"), Some(7));
    let rows: Vec<_> = rows.iter().map(|row| (row.line, row.last_line.unwrap_or(row.line))).collect();
    assert_eq!(rows, [(1, 2), (5, 7), (10, 10)]);
}

#[test]
fn commands_around_a_config_without_fences() {
    one(
        "$ cat nginx.conf\nstream {\n}\nroot@lb1:~# nginx -t\ndocker run -d -p 80:80 \\\n  --name lb \\\n  nginx\n",
        "\nstream {\n}\n",
        &["1-1 line 1: a shell command", "4-4 line 4: a shell command", "5-7 lines 5-7: a shell command"],
    );
}

#[test]
fn characters_of_word_processors() {
    one(
        "\u{feff}stream {\r\n\u{a0}\u{a0}a “b”;\r\n  c ‘d’; # “e”\u{200b}\r\n}\r\n",
        "stream {\n  a \"b\";\n  c 'd'; # \"e\"\n}\n",
        &["2-2 typographic quotes"],
    );
}

#[test]
fn templates_of_jinja_go_erb_terraform_and_shells() {
    one(
        "{# a\n b #}\nstream {\n{% for host in groups['lb'] %}\n  server {{ hostvars[host]['ip'] | default('x') }}:{{port}}{% if not loop.last %};{% endif %}\n{%- endfor %}\n}\n",
        "\n\nstream {\n\n  server <hostvars_host_ip>:<port>;\n\n}",
        &[
            "1-2 {# a b #}",
            "4-4! {% for host in groups['lb'] %}",
            "5-5! {% if not loop.last %} {% endif %}",
            "6-6 {%- endfor %}",
        ],
    );
    one(
        "stream {\n{{- range $i, $e := .Values.servers }}\n  server {{ $e.host }}:{{ .Values.port | quote }};\n{{- else }}\n{{- end }}\n{{/* c */}}\n}\n",
        "stream {\n\n  server <e.host>:<Values.port>;\n\n\n\n}",
        &[
            "2-2! {{- range $i, $e := .Values.servers }}",
            "4-4! {{- else }}",
            "5-5 {{- end }}",
            "6-6 {{/* c */}}",
        ],
    );
    one(
        "stream {\n<% @servers.each do |s| -%>\n  server <%= s %>:1;\n<% end -%>\n}\n",
        "stream {\n\n  server <s>:1;\n\n}",
        &["2-2! <% @servers.each do |s| -%>", "4-4 <% end -%>"],
    );
    one(
        "stream {\n%{ for ip in ips ~}\n  server ${ip}:1;\n%{ endfor ~}\n  a $remote_addr ${remote_addr} ${ssl_preread_server_name} $(POD_IP) ${A:-b} ${join(\",\", x)};\n}\n",
        "stream {\n\n  server <ip>:1;\n\n  a $remote_addr ${remote_addr} ${ssl_preread_server_name} <POD_IP> <A> <join_x>;\n}",
        &["2-2! %{ for ip in ips ~}", "4-4 %{ endfor ~}"],
    );
    // keepalived's own.
    one(
        "$VIP=10.0.0.1\nvrrp_instance a {\n ${VIP} ${OTHER}\n}\n",
        "$VIP=10.0.0.1\nvrrp_instance a {\n ${VIP} ${OTHER}\n}",
        &[],
    );
    // No templates.
    let text = "frontend x\n  log-format %{+Q}o\\ %[src] {{ %{if\n";
    one(text, text, &[]);
}

#[test]
fn a_fence_of_another_format_than_was_asked_for_is_told() {
    let (parts, _) = unwrapped("```\nfrontend x\n```\n", &[Format::Nginx]);
    // What is wrong with it, the caller says.
    assert_eq!(parts.unwrap()[0].format, Some(Format::Haproxy));
}
