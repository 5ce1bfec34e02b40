//! Blocks within blocks.

use super::{
    expand::{Definitions, Expander},
    lines::Unit,
    words::{Token, tokens},
};
use crate::report::{At, Ledger};

/// No block of keepalived's is within more than four others.
const DEEPEST: usize = 32;

/// These stand in no other block: where one begins, all others have ended.
const ROOTS: [&str; 8] = [
    "global_defs",
    "static_ipaddress",
    "static_routes",
    "virtual_server",
    "virtual_server_group",
    "vrrp_instance",
    "vrrp_script",
    "vrrp_sync_group",
];

/// A keyword, its arguments, and what is in its block.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) args: Vec<String>,
    pub(super) at: At,
    pub(super) children: Vec<Node>,
}

impl Node {
    pub(super) fn arg(&self, index: usize) -> Option<&str> {
        self.args.get(index).map(String::as_str)
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &Node> {
        self.children.iter().filter(move |node| node.name == name)
    }
}

/// The blocks that open at present.
struct Builder {
    roots: Vec<Node>,
    open: Vec<Node>,
    /// Blocks deeper than [`DEEPEST`].
    deeper: usize,
}

/// What units are at the top of their file.
pub(super) fn of(units: &[Unit], definitions: &mut Definitions, ledger: &mut Ledger) -> Vec<Node> {
    let mut builder = Builder { roots: Vec::new(), open: Vec::new(), deeper: 0 };
    let size: usize = units.iter().map(|unit| unit.text.len()).sum();
    let mut expander = Expander::new(definitions, size, units);
    for unit in units {
        let Some(at) = unit.at else {
            for _ in unit.text.chars().filter(|c| *c == '}') {
                builder.close();
            }
            continue;
        };
        let in_balancing = builder.open.first().is_some_and(|node| node.name.starts_with("virtual_server"));
        for line in expander.lines(&unit.text, at, in_balancing, ledger) {
            builder.line(&line, at, ledger);
        }
    }
    for node in &builder.open {
        ledger.fault(node.at, "its block has no closing brace: the file ends within it");
    }
    while !builder.open.is_empty() {
        builder.close();
    }
    builder.roots
}

impl Builder {
    fn line(&mut self, line: &str, at: At, ledger: &mut Ledger) {
        let mut words: Vec<String> = Vec::new();
        for token in tokens(line) {
            match token {
                Token::Word(word) => words.push(word),
                Token::Open => self.open(std::mem::take(&mut words), at, ledger),
                Token::Close => {
                    self.leaf(std::mem::take(&mut words), at);
                    self.close();
                }
            }
        }
        self.leaf(words, at);
    }

    fn open(&mut self, words: Vec<String>, at: At, ledger: &mut Ledger) {
        let node = match self.opened_late(&words, at) {
            Some(node) => node,
            None => node(words, at),
        };
        if ROOTS.contains(&node.name.as_str()) && !self.open.is_empty() {
            for unclosed in &self.open {
                ledger.fault(unclosed.at, "its block has no closing brace before the next one begins");
            }
            self.deeper = 0;
            while !self.open.is_empty() {
                self.close();
            }
        }
        if self.open.len() < DEEPEST {
            self.open.push(node);
        } else {
            self.deeper += 1;
            self.append(node);
        }
    }

    /// The keyword before a brace that stands alone, of the same statement.
    fn opened_late(&mut self, words: &[String], at: At) -> Option<Node> {
        let siblings = self.open.last_mut().map_or(&mut self.roots, |parent| &mut parent.children);
        siblings.pop_if(|last| words.is_empty() && last.at == at && last.children.is_empty())
    }

    fn leaf(&mut self, words: Vec<String>, at: At) {
        if !words.is_empty() {
            self.append(node(words, at));
        }
    }

    fn append(&mut self, node: Node) {
        match self.open.last_mut() {
            Some(parent) => parent.children.push(node),
            None => self.roots.push(node),
        }
    }

    /// One brace too many closes nothing.
    fn close(&mut self) {
        if self.deeper > 0 {
            self.deeper -= 1;
        } else if let Some(node) = self.open.pop() {
            self.append(node);
        }
    }
}

fn node(words: Vec<String>, at: At) -> Node {
    let mut words = words.into_iter();
    Node { name: words.next().unwrap_or_default(), args: words.collect(), at, children: Vec::new() }
}
