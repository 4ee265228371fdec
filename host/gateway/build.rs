//! Builds the crate again when a web page or a module of the client library comes or goes: they are embedded.

fn main() {
    println!("cargo::rerun-if-changed=../web");
    println!("cargo::rerun-if-changed=../../sdk/client-js");
}
