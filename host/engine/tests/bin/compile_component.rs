//! Stands in for the host's binary in the engine's tests: it compiles, or tries the walls around compiling.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None => godwit_engine::compile_child(),
        Some("probe") => probe(),
        Some(other) => panic!("unknown argument {other}"),
    }
}

/// Says what the walls let through.
fn probe() -> ExitCode {
    godwit_engine::compile::sandbox::enter(&Default::default()).expect("the walls stand");
    println!("file {:?}", std::fs::read("/etc/hostname").err().map(|error| error.kind()));
    println!("socket {:?}", std::net::TcpStream::connect("127.0.0.1:9").err().map(|error| error.kind()));
    println!("process {:?}", std::process::Command::new("/bin/true").spawn().err().map(|error| error.kind()));
    println!("memory {:?}", Vec::<u8>::new().try_reserve_exact(4 << 30).is_err());
    ExitCode::SUCCESS
}
