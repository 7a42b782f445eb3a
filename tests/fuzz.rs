//! The fuzz targets as tests: what once failed, the seeds, and a second of mutated seeds each.
//!
//! `make fuzz` runs the same functions under libFuzzer, which finds more and needs its own build of
//! everything. FUZZ_SECONDS makes this one longer.

#![allow(clippy::disallowed_methods)] // Mutating goes on for a time.

// Public in the fuzz crate, private here, and not all of it is used.
#[allow(unreachable_pub, unused_imports, dead_code)]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};
use targets::{TARGETS, Target, seeds};

/// Longest input; what the targets check grows with it.
const INPUT_LEN_MAX: usize = 16 << 10;

fn check(name: &str, target: Target, input: &[u8], what: &str) {
    if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
        let path = std::env::temp_dir().join(format!("millstream-fuzz-{name}"));
        let kept = fs::write(&path, input).map(|()| path.display().to_string());
        panic!("{name} fails with {what}; input: {kept:?}");
    }
}

#[test]
fn what_once_failed_does_not_fail_again() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions");
    for (name, target) in TARGETS {
        for entry in fs::read_dir(root.join(name)).into_iter().flatten() {
            let path = entry.expect("regressions are readable").path();
            let input = fs::read(&path).expect("regressions are readable");
            check(name, *target, &input, &path.display().to_string());
        }
    }
}

#[test]
fn seeds_and_their_mutants_break_no_parser() {
    let seconds = std::env::var("FUZZ_SECONDS").map_or(1.0, |text| text.parse().expect("seconds"));
    std::thread::scope(|scope| {
        for (name, target) in TARGETS {
            let seeds = seeds::of(name);
            assert!(!seeds.is_empty(), "{name} has no seeds");
            scope.spawn(move || mutate(name, *target, &seeds, Duration::from_secs_f64(seconds)));
        }
    });
}

fn mutate(name: &str, target: Target, seeds: &[Vec<u8>], time: Duration) {
    for seed in seeds {
        check(name, target, seed, "a seed");
    }
    let mut random = Random(name.bytes().fold(1, |sum, byte| sum * 31 + u64::from(byte)));
    let (until, mut rounds) = (Instant::now() + time, 0);
    while Instant::now() < until {
        let mut input = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(8) {
            random.mutate(&mut input);
        }
        input.truncate(INPUT_LEN_MAX);
        check(name, target, &input, &format!("mutant {rounds}"));
        rounds += 1;
    }
    assert!(rounds > 0);
    eprintln!("{name}: {rounds} mutants");
}

/// Xorshift: the same mutants in every run, as many as the time allows.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end.max(1)
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let len = self.below(40).min(input.len() - at);
        match self.below(7) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => {
                let extremes = [0, 1, 0x7f, 0x80, 0xff, b'/', b'.', b'%', b'\n'];
                input[at] = extremes[self.below(extremes.len())];
            }
            2 => drop(input.drain(at..at + len)),
            3 => {
                let copy = input[at..at + len].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, copy);
            }
            4 => input.insert(at, self.next() as u8),
            5 if len >= 4 => {
                let number = [0_u32, 0xffff_ffff, 0x7fff_ffff, 0xff_ffff, 0x1_0000, 3]
                    .map(u32::to_be_bytes)[self.below(6)];
                input[at..at + 4].copy_from_slice(&number);
            }
            _ if self.below(8) == 0 => input.truncate(at),
            _ if at < input.len() => input[at] = self.next() as u8,
            _ => {}
        }
    }
}
