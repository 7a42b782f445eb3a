//! Holds the rules that no compiler knows: who may import whom, what stays pure, how long a file may be.
//!
//! The table below is the architecture. A new edge between modules is a commit of its own that
//! changes the table and says why.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// One top-level module: its name, the modules it may import, whether it is pure.
type Row = (&'static str, &'static [&'static str], Purity);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Purity {
    /// Values in, values out: no runtime, socket, file, clock or randomness.
    Pure,
    /// May touch the world.
    Edge,
}
use Purity::{Edge, Pure};

#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("id",       &[],                                                                        Pure),
    ("key",      &["id"],                                                                    Pure),
    ("rtmp",     &[],                                                                        Pure),
    ("media",    &[],                                                                        Pure),
    ("flv",      &["media"],                                                                 Pure),
    ("segment",  &["media"],                                                                 Pure),
    ("mux",      &["media"],                                                                 Pure),
    ("playlist", &["id", "key", "media"],                                                    Pure),
    ("pipeline", &["id", "key", "media", "flv", "segment", "mux", "playlist"],               Pure),
    ("clock",    &["media"],                                                                 Edge),
    ("metrics",  &[],                                                                        Edge),
    ("net",      &["rtmp", "clock"],                                                         Edge),
    ("store",    &["id", "key", "clock"],                                                    Edge),
    ("catalog",  &["id", "key", "media"],                                                    Edge),
    ("control",  &["id", "key", "media", "clock", "playlist", "store", "catalog"],           Edge),
    ("publish",  &["id", "media", "clock", "net", "flv", "pipeline", "store", "control"],    Edge),
    // A cut-off segment is read back by the muxer's own hand, and ends as the segmenter would end it.
    ("recover",  &["id", "key", "media", "mux", "segment", "store", "control"],              Edge),
    // Connections come in at one door, whatever they speak: places, TLS, proxies.
    ("http",     &["id", "key", "clock", "net", "playlist", "store", "control"],             Edge),
    ("api",      &["id", "key", "control", "http"],                                          Edge),
    // The clock: a signature has its time.
    ("compat",   &["id", "clock", "control", "http"],                                        Edge),
];

/// They put everything together, so they may import everything; nobody but `main` imports them.
const ROOTS: &[&str] = &["app", "cli", "config"];

/// Words that have no place in a pure module, and what they would bring in.
const IMPURE: &[(&str, &str)] = &[
    ("tokio", "a runtime"),
    ("std::fs", "files"),
    ("std::net", "sockets"),
    ("std::env", "the environment"),
    ("thread::spawn", "threads"),
    ("thread::sleep", "a clock"),
    ("SystemTime", "a clock"),
    ("Instant", "a clock"),
    ("Utc::now", "a clock"),
    ("Local::now", "a clock"),
    ("getrandom", "randomness"),
    ("rand::", "randomness"),
];

/// Lines of code, without comments, blank lines and tests: from here on a file says in its module
/// doc why it is that long, with these words.
const LINES_TO_JUSTIFY: usize = 500;
const JUSTIFICATION: &str = "500 lines";
/// No file is longer, whatever it says.
const LINES_MAX: usize = 800;

#[test]
fn modules_import_only_what_the_table_allows() {
    let mut report = Report::default();
    for source in sources() {
        for import in imports(&source) {
            if let Some(complaint) = refuse(&source.module, &import.module) {
                report.add(&source, import.line, &complaint);
            }
        }
    }
    report.finish();
}

#[test]
fn pure_modules_do_not_touch_the_world() {
    let mut report = Report::default();
    for source in sources() {
        if row(&source.module).is_none_or(|row| row.2 != Pure) {
            continue;
        }
        for (number, line) in numbered(&source.code) {
            for (word, what) in IMPURE {
                if has_word(line, word) {
                    let module = &source.module;
                    let complaint =
                        format!("`{word}` brings {what} into `{module}`, which is pure");
                    report.add(&source, number, &complaint);
                }
            }
        }
    }
    report.finish();
}

#[test]
fn every_module_has_its_row() {
    let known: BTreeSet<&str> = TABLE
        .iter()
        .map(|row| row.0)
        .chain(ROOTS.iter().copied())
        .collect();
    let mut report = Report::default();
    for source in sources() {
        let module = source.module.as_str();
        if !matches!(module, "lib" | "main") && !known.contains(module) {
            report.add(
                &source,
                1,
                &format!("`{module}` is not in the table of tests/tidy.rs"),
            );
        }
    }
    report.finish();
}

#[test]
fn files_are_of_readable_length() {
    let mut report = Report::default();
    for source in sources() {
        let lines = source
            .code
            .lines()
            .filter(|line| !line.trim().is_empty())
            .count();
        let justified = { source.text.lines() }
            .take_while(|line| line.starts_with("//!"))
            .any(|line| line.contains(JUSTIFICATION));
        if lines > LINES_MAX {
            let complaint =
                format!("{lines} lines of code before its tests, {LINES_MAX} are the most");
            report.add(&source, 1, &complaint);
        } else if lines > LINES_TO_JUSTIFY && !justified {
            let complaint = format!(
                "{lines} lines of code before its tests: split it, or say in the module doc why it has more than {JUSTIFICATION}"
            );
            report.add(&source, 1, &complaint);
        }
    }
    report.finish();
}

#[test]
fn nothing_is_left_undone() {
    let mut report = Report::default();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            for word in ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!("] {
                if line.contains(word) {
                    report.add(
                        &source,
                        number + 1,
                        &format!("`{word}`: do it, or file an issue"),
                    );
                }
            }
            if is_code_in_comment(line) {
                report.add(&source, number + 1, "code in a comment: remove it");
            }
        }
    }
    report.finish();
}

/// Whether a comment reads like a statement: `let x = y;`, `if x {`.
fn is_code_in_comment(line: &str) -> bool {
    let comment = line.trim_start().strip_prefix("// ").unwrap_or_default();
    let first = comment.split_whitespace().next().unwrap_or_default();
    let keyword = matches!(
        first,
        "let" | "use" | "pub" | "mod" | "fn" | "if" | "for" | "while" | "match" | "return" | "impl"
    );
    keyword && (comment.ends_with(';') || comment.ends_with('{'))
}

/// Why `module` may not import `imported`, or nothing if it may.
fn refuse(module: &str, imported: &str) -> Option<String> {
    if ROOTS.contains(&module) || matches!(module, "main" | "lib") || module == imported {
        return None;
    }
    let (_, allowed, purity) = row(module)?;
    // Whoever touches the world may count what happens there; what is pure returns its numbers.
    if imported == "metrics" && *purity == Edge {
        return None;
    }
    (!allowed.contains(&imported)).then(|| {
        let list = if allowed.is_empty() {
            "nothing".into()
        } else {
            allowed.join(", ")
        };
        format!("imports `{imported}`; the table says: {module} may import {list}")
    })
}

fn row(module: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.0 == module)
}

/// A file under src/.
struct Source {
    path: PathBuf,
    /// The top-level module it belongs to.
    module: String,
    /// How many modules deep it is: 1 for a top-level module, 0 for lib.rs and main.rs.
    depth: usize,
    text: String,
    /// The text without its tests, and with comments and string literals blanked out.
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&root, &root, &mut found);
    assert!(found.len() > 5, "{} is not the source tree", root.display());
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("src is readable") {
        let path = entry.expect("src is readable").path();
        if path.is_dir() {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("source is UTF-8");
            found.push(Source::new(root, path, text));
        }
    }
}

impl Source {
    fn new(root: &Path, path: PathBuf, text: String) -> Self {
        let inside = path
            .strip_prefix(root)
            .expect("under the root")
            .with_extension("");
        let mut names: Vec<_> = inside
            .iter()
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        let module = names[0].clone();
        names.retain(|name| !matches!(name.as_str(), "mod" | "lib" | "main"));
        // A file of tests is a module of tests: `#[cfg(test)] mod tests;` in its parent.
        let is_test = names.iter().any(|name| name == "tests");
        let code = if is_test {
            String::new()
        } else {
            without_tests(&blank(&text))
        };
        Self {
            depth: names.len(),
            path,
            module,
            text,
            code,
        }
    }
}

/// The part of `code` before its first inline module of tests; tests stand last in a file.
fn without_tests(code: &str) -> String {
    let lines: Vec<&str> = code.lines().collect();
    let is_item = |line: &&&str| line.starts_with(|c: char| c.is_ascii_lowercase());
    let opens_tests = |(at, line): (usize, &&str)| {
        // Other attributes may stand between this one and the module.
        let item = lines[at..].iter().find(is_item);
        *line == "#[cfg(test)]"
            && item.is_some_and(|item| item.contains("mod ") && item.trim_end().ends_with('{'))
    };
    let tests = lines.iter().enumerate().position(opens_tests);
    lines[..tests.unwrap_or(lines.len())].join("\n")
}

/// Replaces comments and the insides of string and character literals by blanks; keeps every newline.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let length = if rest.starts_with(b"//") {
            rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            find(rest, b"*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_string(rest) {
            let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
            let open = 2 + hashes;
            find(&rest[open..], &close).map_or(rest.len(), |end| open + end + close.len())
        } else if rest[0] == b'"' {
            quoted(rest, b'"')
        } else if rest[0] == b'\'' && is_character(rest) {
            quoted(rest, b'\'')
        } else {
            at += 1;
            continue;
        };
        for byte in &mut out[at..at + length] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at += length;
    }
    String::from_utf8(out).expect("whole characters were blanked")
}

fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest
        .strip_prefix(b"r")?
        .iter()
        .take_while(|b| **b == b'#')
        .count();
    (rest.get(1 + hashes) == Some(&b'"')).then_some(hashes)
}

/// A lifetime has no closing quote.
fn is_character(rest: &[u8]) -> bool {
    rest.get(1) == Some(&b'\\')
        || rest
            .iter()
            .skip(2)
            .take(4)
            .position(|b| *b == b'\'')
            .is_some_and(|end| {
                std::str::from_utf8(&rest[1..end + 2])
                    .is_ok_and(|inside| inside.chars().count() == 1)
            })
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

/// A path in the code that leads to a top-level module of this crate.
#[derive(Debug, PartialEq, Eq)]
struct Import {
    line: usize,
    module: String,
}

/// Every `crate::x`, `crate::{x, y::z}` and `super::…::x` that climbs to the crate's root.
fn imports(source: &Source) -> Vec<Import> {
    let code = &source.code;
    let root = "super::".repeat(source.depth);
    let mut found = Vec::new();
    for prefix in ["crate::", root.as_str()] {
        if prefix.is_empty() {
            continue;
        }
        for (at, _) in code.match_indices(prefix) {
            let before = &code[..at];
            // Part of a longer word or a longer climb (`$crate::` is a macro's).
            if before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | ':')) {
                continue;
            }
            let line = before.matches('\n').count() + 1;
            for module in first_names(&code[at + prefix.len()..]) {
                found.push(Import { line, module });
            }
        }
    }
    found
}

/// The names that directly follow a path prefix: one, or those of a `{…}` group.
fn first_names(rest: &str) -> Vec<String> {
    let Some(group) = rest.strip_prefix('{') else {
        return name_at(rest).into_iter().collect();
    };
    let mut depth = 0;
    let mut names = Vec::new();
    let mut expects = true;
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expects = true,
            c if expects && !c.is_whitespace() => {
                names.extend(name_at(&group[at..]));
                expects = false;
            }
            _ => {}
        }
    }
    names
}

/// The module name at the start of `rest`; names of types and macros are the root's own.
fn name_at(rest: &str) -> Option<String> {
    let end = rest
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    let name = &rest[..end];
    let is_module =
        name.starts_with(|c: char| c.is_ascii_lowercase()) && name != "self" && name != "super";
    (is_module && !rest[end..].starts_with('!')).then(|| name.to_owned())
}

fn numbered(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
}

fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let after = &line[at + word.len()..];
        !line[..at].ends_with(part) && (word.ends_with(':') || !after.starts_with(part))
    })
}

#[derive(Default)]
struct Report {
    text: String,
    count: usize,
}

impl Report {
    fn add(&mut self, source: &Source, line: usize, complaint: &str) {
        let _ = writeln!(self.text, "{}:{line}: {complaint}", source.path.display());
        self.count += 1;
    }

    fn finish(self) {
        assert!(self.count == 0, "{} complaints\n{}", self.count, self.text);
    }
}

mod reader {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source::new(Path::new("src"), Path::new("src").join(path), text.into())
    }

    fn check(path: &str, text: &str, expected: &[&str]) {
        let found: Vec<_> = imports(&source(path, text))
            .into_iter()
            .map(|import| import.module)
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn imports_are_found_in_every_form() {
        check("a.rs", "use crate::media::Frame;", &["media"]);
        check(
            "a.rs",
            "use crate::{id, key::{self, X}, media as m};",
            &["id", "key", "media"],
        );
        check(
            "a.rs",
            "use crate::{\n    id,\n    key,\n};",
            &["id", "key"],
        );
        check(
            "a.rs",
            "fn f() { crate::net::go(super::store::put) }",
            &["net", "store"],
        );
        check("a/mod.rs", "use super::store::put;", &["store"]);
        check(
            "a/b.rs",
            "use super::store::put; use super::super::net::x;",
            &["net"],
        );
        check(
            "a/b/c.rs",
            "use super::super::super::{net, id};",
            &["net", "id"],
        );
        check(
            "a.rs",
            "// crate::net\nlet x = \"crate::id\"; let r = r#\"crate::key\"#;",
            &[],
        );
        check(
            "a.rs",
            "let q = '\"'; crate::net::go(); let s = \"\\\"crate::id\";",
            &["net"],
        );
        check("a.rs", "macro_rules! m { () => { $crate::net::x } }", &[]);
        check(
            "a.rs",
            "fn f() {}\n#[cfg(test)]\nmod tests {\n use crate::net;\n}",
            &[],
        );
        check(
            "a.rs",
            "#[cfg(test)]\n#[allow(\n    dead_code,\n)]\nmod tests {\n use crate::net;\n}",
            &[],
        );
        check("a/tests.rs", "use crate::net;", &[]);
    }

    #[test]
    fn the_line_of_an_import_is_told() {
        let found = imports(&source("a.rs", "//! doc\n\nuse crate::net;\n"));
        assert_eq!(
            found,
            [Import {
                line: 3,
                module: "net".into()
            }]
        );
    }

    #[test]
    fn the_table_refuses_what_it_does_not_name() {
        assert_eq!(refuse("flv", "media"), None);
        assert_eq!(refuse("cli", "net"), None);
        assert_eq!(refuse("mux", "mux"), None);
        let complaint = refuse("rtmp", "flv").expect("rtmp does not know FLV");
        assert!(complaint.contains("rtmp may import nothing"), "{complaint}");
        assert!(refuse("net", "control").is_some());
        assert!(refuse("store", "metrics").is_none());
        assert!(refuse("mux", "metrics").is_some());
        assert!(refuse("http", "app").is_some());
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("use std::time::Instant;", "Instant"));
        assert!(!has_word("struct Instantaneous;", "Instant"));
        assert!(has_word("use tokio::net;", "tokio"));
        assert!(!has_word("operand::x", "rand::"));
    }
}
