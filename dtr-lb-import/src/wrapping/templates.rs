//! Templates: Jinja, Go and Helm (`{{ x }}`, `{% if %}`), ERB (`<% %>`), Terraform (`%{ if }`), and around nginx's own
//! variables those of Terraform, a shell and Kubernetes (`${x}`, `${X}`, `$(X)`).

use std::collections::HashSet;

use crate::nginx;

/// A tag is no longer than this, and a variable no longer than that.
const LONGEST: usize = 4000;
const LONGEST_VARIABLE: usize = 200;

/// A text without tags.
pub(super) struct Plain {
    /// As many lines as it had. Variables are placeholders.
    pub(super) text: String,
    pub(super) tags: Vec<Tag>,
}

/// What stands in a template beside variables.
pub(super) struct Tag {
    pub(super) lines: (usize, usize),
    pub(super) text: String,
    pub(super) why: &'static str,
    pub(super) decides: bool,
}

/// What a tag means.
enum Meaning {
    Variable(String),
    Control(&'static str, bool),
}

const LOOP: Meaning = Meaning::Control(
    "a loop of a template: what is in it is taken once; write it out for each, or import what the template makes",
    true,
);
const CONDITION: Meaning =
    Meaning::Control("a condition of a template: what is in it is taken as if it held", true);
const ELSE: Meaning = Meaning::Control("the other branch of a template's condition: both are taken", true);
const END: Meaning = Meaning::Control("it ends a block of a template", false);
const SET: Meaning =
    Meaning::Control("a variable of a template: where it is used, a placeholder stands", false);
const COMMENT: Meaning = Meaning::Control("a comment of a template", false);
const OTHER: Meaning = Meaning::Control("a template's tag: import what the template makes of it", true);

/// Takes tags out.
pub(super) fn plain(text: &str) -> Plain {
    let mut reader = Reader {
        text,
        is_nginx: nginx::is_one(text),
        has_tags: text.contains("{{") || text.contains("{%"),
        unbraced: unbraced(text),
        next_end: [Some(0); 4],
    };
    let mut plain = Plain { text: String::with_capacity(text.len()), tags: Vec::new() };
    let (mut at, mut line) = (0, 1);
    while let Some(character) = text[at..].chars().next() {
        let tag = if matches!(character, '{' | '<' | '%' | '$') { reader.tag(at) } else { None };
        let Some((end, meaning)) = tag else {
            plain.text.push(character);
            line += usize::from(character == '\n');
            at += character.len_utf8();
            continue;
        };
        let tag = &text[at..end];
        let newlines = tag.matches('\n').count();
        match meaning {
            Meaning::Variable(name) => plain.text.push_str(&format!("<{name}>")),
            Meaning::Control(why, decides) => {
                let short: String = tag.chars().take(120).collect();
                match plain.tags.last_mut() {
                    // One row a line: the gravest.
                    Some(last) if last.lines == (line, line) && newlines == 0 => {
                        last.text = format!("{} {short}", last.text);
                        if decides && !last.decides {
                            (last.why, last.decides) = (why, true);
                        }
                    }
                    _ => plain.tags.push(Tag { lines: (line, line + newlines), text: short, why, decides }),
                }
            }
        }
        plain.text.extend(std::iter::repeat_n('\n', newlines));
        line += newlines;
        at = end;
    }
    plain
}

/// Names of `$name`: the format's own variables, or at least no template's alone.
fn unbraced(text: &str) -> HashSet<&str> {
    text.match_indices('$')
        .map(|(index, _)| {
            let rest = &text[index + 1..];
            let length =
                rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
            &rest[..length]
        })
        .filter(|name| !name.is_empty())
        .collect()
}

struct Reader<'a> {
    text: &'a str,
    is_nginx: bool,
    has_tags: bool,
    unbraced: HashSet<&'a str>,
    /// Of each kind of tag, where the next end is that was looked for; `None`: there is none.
    next_end: [Option<usize>; 4],
}

impl<'a> Reader<'a> {
    /// A tag that begins here: where it ends, and what it means.
    fn tag(&mut self, at: usize) -> Option<(usize, Meaning)> {
        let rest = &self.text[at..];
        if rest.starts_with("{{") {
            let (inner, end) = self.inner(at, "}}", 0)?;
            let end = end + usize::from(self.text[end..].starts_with('}') && inner.starts_with('{'));
            return Some((end, braces(inner.trim_matches(['{', '}']))));
        }
        if rest.starts_with("{%") {
            let (inner, end) = self.inner(at, "%}", 1)?;
            return Some((end, control(inner)));
        }
        if rest.starts_with("{#") && self.has_tags {
            let (_, end) = self.inner(at, "#}", 2)?;
            return Some((end, COMMENT));
        }
        if rest.starts_with("<%") {
            let (inner, end) = self.inner(at, "%>", 3)?;
            return Some((end, erb(inner)));
        }
        if let Some(inner) = rest.strip_prefix("%{") {
            let word = inner.trim_start_matches(['~', ' ']);
            if !["if ", "for ", "else", "endif", "endfor"].iter().any(|name| word.starts_with(name)) {
                return None;
            }
            let length =
                inner.bytes().take(LONGEST_VARIABLE).position(|byte| byte == b'}' || byte == b'\n')?;
            return inner[length..]
                .starts_with('}')
                .then(|| (at + 2 + length + 1, control(&inner[..length])));
        }
        // HAProxy and keepalived have such variables themselves.
        if !self.is_nginx {
            return None;
        }
        if let Some(inner) = rest.strip_prefix("$(") {
            let length =
                inner.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
            let is_name = length > 0 && inner[length..].starts_with(')');
            return is_name.then(|| (at + 2 + length + 1, Meaning::Variable(inner[..length].to_owned())));
        }
        self.dollar(at)
    }

    /// What is between a tag's ends, and where it ends.
    fn inner(&mut self, at: usize, close: &str, kind: usize) -> Option<(&'a str, usize)> {
        let begin = at + 2;
        // Each text is searched once, however many tags begin in it.
        if self.next_end[kind].is_some_and(|end| end < begin) {
            self.next_end[kind] = self.text[begin..].find(close).map(|length| begin + length);
        }
        let end = self.next_end[kind]?;
        (end - begin <= LONGEST).then(|| (&self.text[begin..end], end + close.len()))
    }

    /// `${...}`.
    fn dollar(&self, at: usize) -> Option<(usize, Meaning)> {
        let inner = self.text[at..].strip_prefix("${")?;
        // Terraform writes $${ for what is none of its own.
        if self.text[..at].ends_with('$') {
            return None;
        }
        let mut depth = 0usize;
        let mut length = None;
        for (index, byte) in inner.bytes().enumerate().take(LONGEST_VARIABLE) {
            match byte {
                b'{' => depth += 1,
                b'}' if depth == 0 => {
                    length = Some(index);
                    break;
                }
                b'}' => depth -= 1,
                b'\n' => break,
                _ => {}
            }
        }
        let inner = &inner[..length?];
        let end = at + 2 + inner.len() + 1;
        let name: String = inner.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let is_whole = name == inner;
        let is_own = is_whole && (self.unbraced.contains(inner) || nginx::is_own_variable(inner));
        if is_own || inner.is_empty() {
            return None;
        }
        // ${NAME:-default}
        let is_default = inner[name.len()..].starts_with([':', '-', '?', '=']);
        Some((end, Meaning::Variable(if is_default && !name.is_empty() { name } else { placeholder(inner) })))
    }
}

/// Without blanks, or what else a placeholder cannot have.
fn placeholder(expression: &str) -> String {
    let expression = expression.split('|').next().unwrap_or(expression);
    let mut name = String::new();
    for character in expression.trim().trim_start_matches('.').chars().take(100) {
        if character.is_alphanumeric() || character == '_' || character == '.' {
            name.push(character);
        } else if !name.ends_with('_') {
            name.push('_');
        }
    }
    let name = name.trim_matches(['_', '.']);
    if name.is_empty() { "template".to_owned() } else { name.to_owned() }
}

/// Go, Jinja, and Handlebars.
fn braces(inner: &str) -> Meaning {
    let inner = inner.trim_matches(['-', '~']).trim();
    let first = inner.split_whitespace().next().unwrap_or("");
    match first {
        "range" | "#each" => LOOP,
        "if" | "with" | "#if" | "#unless" | "#with" => CONDITION,
        "else" | "else," => ELSE,
        "end" => END,
        "template" | "include" | "define" | "block" | "tpl" | "toYaml" | "partial" => OTHER,
        _ if first.starts_with("/*") || first.starts_with("!") => COMMENT,
        _ if first.starts_with('/') => END,
        _ if first.starts_with('#') || first.starts_with('^') => CONDITION,
        _ if inner.contains(":=") || (inner.starts_with('$') && inner.contains(" = ")) => SET,
        _ => Meaning::Variable(placeholder(inner)),
    }
}

/// Jinja's and Terraform's.
fn control(inner: &str) -> Meaning {
    let inner = inner.trim_matches(['-', '+', '~']).trim();
    let first = inner.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or("");
    match first {
        "for" | "while" => LOOP,
        "if" | "unless" | "elif" | "elsif" | "with" | "case" | "when" => CONDITION,
        "else" => ELSE,
        "set" | "assign" => SET,
        "raw" | "verbatim" | "autoescape" => END,
        _ if first.starts_with("end") => END,
        _ => OTHER,
    }
}

fn erb(inner: &str) -> Meaning {
    let inner = inner.trim_matches('-');
    if let Some(expression) = inner.strip_prefix('=') {
        return Meaning::Variable(placeholder(expression));
    }
    if inner.starts_with('#') {
        return COMMENT;
    }
    let inner = inner.trim().trim_start_matches('}').trim();
    if inner.is_empty() || inner == "end" {
        return END;
    }
    if inner.contains(".each") || inner.contains(".map") || inner.contains(".times") {
        return LOOP;
    }
    if inner.contains(" = ") && !inner.starts_with("if") { SET } else { control(inner) }
}
