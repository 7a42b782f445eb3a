//! The web page is compiled in: a file that comes or goes there asks for a new build.

fn main() {
    println!("cargo::rerun-if-changed=web");
}
