//! The compiling process: limits, then a component on standard input, machine code on standard output.
//!
//! It owns nothing and knows no files: before it reads the component it has given up everything else.

use super::sandbox;
use crate::{
    faults::{self, Fault},
    options::Compile,
    runtime,
};
use std::{
    io::{BufRead, Read, Write},
    process::ExitCode,
};

/// The exit code that says: the component is at fault, and standard error says how.
pub(crate) const REFUSED: u8 = 2;

/// What the hidden subcommand of the host's binary does.
///
/// Standard input is a line of JSON (the limits) and the component to its end. Exit code 0 means that standard
/// output is the artefact, 2 that the component does not compile, anything else that the host is at fault.
pub fn main() -> ExitCode {
    match compile() {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(refusal)) => {
            eprintln!("{refusal:#}");
            ExitCode::from(REFUSED)
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compile() -> std::io::Result<Result<(), wasmtime::Error>> {
    let mut stdin = std::io::stdin().lock();
    let mut header = String::new();
    stdin.read_line(&mut header)?;
    let limits: Compile = serde_json::from_str(&header)?;
    // The engine asks the processor for its features, which may read files: before the walls go up.
    let engine = wasmtime::Engine::new(&runtime::config()).map_err(std::io::Error::other)?;
    if !faults::on(Fault::CompilerOpen) {
        sandbox::enter(&limits)?;
    }

    let mut component = Vec::new();
    stdin.read_to_end(&mut component)?;
    match engine.precompile_component(&component) {
        Ok(artefact) => {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(&artefact)?;
            stdout.flush()?;
            Ok(Ok(()))
        }
        Err(refusal) => Ok(Err(refusal)),
    }
}
