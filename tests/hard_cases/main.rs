//! The hard cases: those of media that no other test has, and the table of all of them.

mod media;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// How many cases each letter has.
const CASES: [(char, usize); 7] = [
    ('R', 58),
    ('F', 55),
    ('T', 18),
    ('M', 12),
    ('H', 39),
    ('L', 18),
    ('S', 27),
];
/// The short names that the table explains.
const SHORT: [(&str, &str); 5] = [
    ("chunk", "src/rtmp/chunk/tests.rs"),
    ("session", "src/rtmp/session/tests.rs"),
    ("flv", "src/flv/tests.rs"),
    ("ts", "src/mux/ts/tests/mod.rs"),
    ("cases", "tests/hard_cases/media.rs"),
];

#[test]
fn every_case_has_a_row_with_a_test_that_exists_or_a_reason() {
    let table = include_str!("README.md");
    let mut files = BTreeMap::new();
    let (mut seen, mut faults) = (BTreeSet::new(), Vec::new());
    for line in table.lines() {
        let cells: Vec<_> = line
            .split(" | ")
            .map(|cell| cell.trim_matches(['|', ' ']))
            .collect();
        let [id, _, what, tests] = cells.as_slice() else {
            continue;
        };
        if !id.contains('-') || id.starts_with('-') {
            continue;
        }
        if !seen.insert((*id).to_owned()) {
            faults.push(format!("{id} stands twice"));
        }
        if tests.is_empty() && !what.contains("*waits*") && !what.contains("*open*") {
            faults.push(format!("{id} has neither a test nor a reason"));
        }
        for name in tests.split('`').skip(1).step_by(2) {
            if !exists(name, &mut files) {
                faults.push(format!("{id}: there is no test {name}"));
            }
        }
    }
    for (letter, count) in CASES {
        let expected = (1..=count).map(|number| format!("{letter}-{number:02}"));
        faults.extend(
            expected
                .filter(|id| !seen.contains(id))
                .map(|id| format!("{id} has no row")),
        );
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Whether `file::name` is a test.
fn exists(test: &str, files: &mut BTreeMap<String, String>) -> bool {
    let Some((file, name)) = test.rsplit_once("::") else {
        return false;
    };
    let short = SHORT.iter().find(|short| short.0 == file);
    let path = match short {
        Some((_, path)) => (*path).to_owned(),
        None if file.starts_with("e2e/") || file.starts_with("api/") => format!("tests/{file}"),
        None => file.to_owned(),
    };
    let text = files.entry(path).or_insert_with_key(|path| {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_default()
    });
    let Some((before, _)) = text.split_once(&format!("fn {name}(")) else {
        return false;
    };
    // The attributes stand right above.
    let last = before.rsplit("\n\n").next().unwrap_or_default();
    last.contains("#[test]") || last.contains("#[tokio::test")
}
