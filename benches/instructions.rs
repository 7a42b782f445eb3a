//! Does one piece of work so many times, for who counts instructions: `benches/check.py`.
//!
//! `instructions NAME TIMES`; without arguments it prints the names.

#![allow(missing_docs)]

mod load;
mod work;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let [name, times] = arguments.as_slice() else {
        work::all().iter().for_each(|(name, _)| println!("{name}"));
        return;
    };
    let found = work::all().into_iter().find(|(known, _)| known == name);
    let (Some((_, begin)), Ok(times)) = (found, times.parse::<u32>()) else {
        eprintln!("usage: instructions NAME TIMES");
        std::process::exit(2);
    };
    let mut work = begin();
    for _ in 0..times {
        work();
    }
}
