//! Whose code is in the program: the part of `deny.toml` that can be checked without the network.

use std::collections::BTreeSet;
use std::process::Command;

#[test]
fn dependencies_are_what_deny_toml_allows() {
    let rules = std::fs::read_to_string("deny.toml").expect("deny.toml is there");
    let allowed = quoted(between(&rules, "allow = [", "]"));
    let denied = quoted(between(&rules, "deny = [", "\n]"));
    assert!(
        allowed.contains("MIT") && denied.contains("openssl-sys"),
        "deny.toml is read"
    );

    let mut wrong = Vec::new();
    for package in packages() {
        let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let (name, licence) = (text("name"), text("license"));
        if denied.contains(&name) {
            wrong.push(format!("{name} is denied"));
        }
        // Parts in brackets are alternatives within a sum; none of ours nests deeper.
        let alternatives = licence.replace('/', " OR ");
        let mut alternatives = alternatives.split(" OR ");
        let part = |part: &str| allowed.contains(part.trim_matches([' ', '(', ')']));
        if !alternatives.any(|sum| sum.split(" AND ").all(part)) {
            wrong.push(format!("{name}: licence {licence:?} is not allowed"));
        }
        let source = text("source");
        let registry = "registry+https://github.com/rust-lang/crates.io-index";
        if !source.is_empty() && source != registry {
            wrong.push(format!("{name} comes from {source}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// All packages that are built for this platform.
fn packages() -> Vec<serde_json::Value> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--offline", "--locked"]);
    cargo.args(["--filter-platform", "x86_64-unknown-linux-gnu"]);
    let output = cargo.output().expect("cargo runs this test");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let nodes = all["resolve"]["nodes"].as_array().expect("nodes");
    let used: BTreeSet<_> = nodes
        .iter()
        .filter_map(|node| node["id"].as_str())
        .collect();
    let packages = all["packages"].as_array().expect("packages");
    let is_used =
        |package: &&serde_json::Value| package["id"].as_str().is_some_and(|id| used.contains(id));
    packages.iter().filter(is_used).cloned().collect()
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text.split_once(from).expect(from);
    rest.split_once(to).map_or(rest, |(inside, _)| inside)
}

fn quoted(text: &str) -> BTreeSet<String> {
    text.split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}
