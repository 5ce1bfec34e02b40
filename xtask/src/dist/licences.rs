//! The notices of the crates that are linked into the binary: most of their licences ask for them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::source;
use crate::command::{captured, cargo};

/// What the notices are found in, by the beginnings of files' names.
const NAMES: [&str; 5] = ["license", "licence", "copying", "copyright", "notice"];

/// What the binary consists of: the programs that the kernel runs are in it, too.
const PACKED: [&str; 2] = ["dtr-lb-agent", "dtr-lb-ebpf"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// None for what is linked.
    kind: Option<String>,
}

/// Each crate with its licence, and each notice once, with the crates that it belongs to.
pub(super) fn notices() -> Result<String> {
    let host = captured(std::process::Command::new("rustc").arg("-vV"))?;
    let host =
        host.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not say its host")?;
    let text =
        captured(cargo().args(["metadata", "--format-version=1", "--locked", "--filter-platform", host]))?;
    let metadata: Metadata = serde_json::from_str(&text).context("cargo metadata is not as expected")?;
    let linked = linked(&metadata, &PACKED)?;
    let mut list = String::from("dtr-lb is linked with these crates. Their notices follow the list.\n\n");
    let mut notices = BTreeMap::<String, BTreeSet<String>>::new();
    for package in linked {
        let name = format!("{} {}", package.name, package.version);
        let licence = package.license.as_deref().unwrap_or("see its notice");
        list.push_str(&format!("  {name}: {licence}\n"));
        for notice in found(&package.manifest_path)? {
            notices.entry(notice).or_default().insert(name.clone());
        }
    }
    // The dashboard's, which is embedded.
    list.push_str("  uPlot (from npm): MIT\n");
    let of_plots = source("dtr-lb-agent/web/node_modules/uplot/LICENSE");
    let notice =
        fs::read_to_string(&of_plots).with_context(|| format!("cannot read {}", of_plots.display()))?;
    notices.entry(notice).or_default().insert("uPlot".to_owned());
    for (notice, names) in notices {
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        list.push_str(&format!("\n{}\n{names}\n\n{}\n", "-".repeat(80), notice.trim_end()));
    }
    Ok(list)
}

/// The packages of others that `roots` are linked with, by name.
fn linked<'a>(metadata: &'a Metadata, roots: &[&str]) -> Result<Vec<&'a Package>> {
    let packages: BTreeMap<_, _> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let nodes: BTreeMap<_, _> = metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let mut waiting = Vec::new();
    for root in roots {
        let found = metadata.packages.iter().find(|package| package.name == *root);
        waiting.push(found.with_context(|| format!("the workspace has no package {root}"))?.id.as_str());
    }
    let mut reached = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if reached.insert(id) {
            let node = nodes.get(id).with_context(|| format!("cargo metadata does not resolve {id}"))?;
            let links =
                |dependency: &&Dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
            waiting.extend(node.deps.iter().filter(links).map(|dependency| dependency.pkg.as_str()));
        }
    }
    let mut linked: Vec<_> = reached
        .into_iter()
        .filter_map(|id| packages.get(id).copied())
        .filter(|it| it.source.is_some())
        .collect();
    linked.sort_by(|one, other| (&one.name, &one.version).cmp(&(&other.name, &other.version)));
    Ok(linked)
}

/// The notices beside a manifest.
fn found(manifest: &Path) -> Result<Vec<String>> {
    let directory = manifest.parent().unwrap_or(manifest);
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        if NAMES.iter().any(|start| name.starts_with(start)) && entry.file_type()?.is_file() {
            found.push(String::from_utf8_lossy(&fs::read(entry.path())?).replace("\r\n", "\n"));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_builds_or_tests_is_not_linked() {
        let text = r#"{
            "packages": [
                {"id": "a", "name": "agent", "version": "1", "license": null, "source": null, "manifest_path": "/a"},
                {"id": "l", "name": "linked", "version": "1", "license": "MIT", "source": "r", "manifest_path": "/l"},
                {"id": "d", "name": "deeper", "version": "2", "license": "MIT", "source": "r", "manifest_path": "/d"},
                {"id": "b", "name": "builds", "version": "1", "license": "MIT", "source": "r", "manifest_path": "/b"},
                {"id": "t", "name": "tests", "version": "1", "license": "MIT", "source": "r", "manifest_path": "/t"}
            ],
            "resolve": {"nodes": [
                {"id": "a", "deps": [
                    {"pkg": "l", "dep_kinds": [{"kind": "dev"}, {"kind": null}]},
                    {"pkg": "b", "dep_kinds": [{"kind": "build"}]},
                    {"pkg": "t", "dep_kinds": [{"kind": "dev"}]}
                ]},
                {"id": "l", "deps": [{"pkg": "d", "dep_kinds": [{"kind": null}]}]},
                {"id": "d", "deps": [{"pkg": "l", "dep_kinds": [{"kind": null}]}]}
            ]}
        }"#;
        let metadata = serde_json::from_str(text).unwrap();
        let names: Vec<_> =
            linked(&metadata, &["agent"]).unwrap().iter().map(|package| &package.name).collect();
        assert_eq!(names, ["deeper", "linked"]);
    }
}
