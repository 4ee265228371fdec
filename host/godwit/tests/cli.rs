//! The binary as an operator meets it: what it says, how it ends, and what it refuses.
//!
//! What goes on over its sockets is tested in `tests/e2e`.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

fn godwit(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_godwit"));
    // What the caller has set must not reach the binary under test.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GODWIT_")) {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

#[track_caller]
fn run(arguments: &[&str]) -> Output {
    godwit(arguments).output().unwrap()
}

#[track_caller]
fn refused(arguments: &[&str], expected: &str) {
    let output = run(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{arguments:?} went well");
    // What it logged before may stand above.
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: ") && last.contains(expected), "{arguments:?} said {said:?}");
    assert!(output.stdout.is_empty(), "errors belong to standard error");
}

/// A server on free ports, killed where the test fails.
struct Server {
    child: Child,
    public: String,
    admin: String,
    /// Kept open: who prints into a closed pipe is told so.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    fn start(data: &Path) -> Self {
        let data = data.to_str().unwrap();
        let mut child =
            godwit(&["serve", "--data", data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        let ["listening", "on", public, "admin", admin] =
            words.iter().map(String::as_str).collect::<Vec<_>>()[..]
        else {
            let mut log = String::new();
            child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
            panic!("it said {line:?}, and logged:\n{log}");
        };
        Self { public: public.to_owned(), admin: admin.to_owned(), child, _stdout: stdout }
    }

    /// Ends it by this signal; what it logged.
    fn end(mut self, signal: Signal) -> String {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert!(self.child.wait().unwrap().success(), "{log}");
        log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Mostly it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_printed_settings_are_settings_that_it_takes() {
    let output = run(&["config"]);
    assert!(output.status.success());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("godwit.toml");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.parse::<toml::Table>().unwrap().contains_key("server"), "{text}");
    std::fs::write(&file, text + "nonsense = 1\n").unwrap();
    // It complains of the last line alone: everything before was taken.
    refused(&["serve", "--config", file.to_str().unwrap()], "nonsense");
}

#[test]
fn wrong_settings_are_refused_before_anything_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    refused(&["serve", "--data", data, "--set", "limits.sends=1"], "unknown setting `limits.sends`");
    refused(&["serve", "--data", data, "--set", "log.level"], "has no `=`");
    refused(&["serve", "--data", data, "--config", "/nonexistent.toml"], "/nonexistent.toml");
    refused(&["serve", "--data", data, "--set", "log.level=a=b=c"], "log.level");
    assert!(!Path::new(data).exists());
}

#[test]
fn a_plugin_command_without_a_server_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("admin-token");
    refused(&["plugin", "list", "--token-file", token.to_str().unwrap()], "--token-file");
    std::fs::write(&token, "secret").unwrap();
    // Port 1 is privileged and has no service.
    let arguments = ["plugin", "list", "--admin", "127.0.0.1:1", "--token-file", token.to_str().unwrap()];
    refused(&arguments, "godwit serve");
}

#[test]
fn a_server_serves_until_it_is_told_to_stop_and_may_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("deep/data");
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::start(&data);
        let mode = std::fs::metadata(&data).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "the folder is its owner's");
        let log = server.end(signal);
        assert!(log.contains("stopped"), "{log}");
    }
}

#[test]
fn the_admin_token_is_shown_on_the_first_start_alone() {
    let folder = tempfile::tempdir().unwrap();
    let first = Server::start(folder.path()).end(Signal::TERM);
    let token = std::fs::read_to_string(folder.path().join("admin-token")).unwrap();
    assert_eq!(first.matches(token.trim()).count(), 1, "{first}");
    let second = Server::start(folder.path()).end(Signal::TERM);
    assert!(!second.contains(token.trim()), "{second}");
}

#[test]
fn a_second_host_on_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let data = folder.path().to_str().unwrap();
    refused(&["serve", "--data", data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"], "in use");
    server.end(Signal::TERM);
}

#[test]
fn an_address_that_is_taken_is_named_with_its_setting() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("one"));
    let data = folder.path().join("two");
    let arguments =
        ["serve", "--data", data.to_str().unwrap(), "--listen", &server.public, "--admin", "127.0.0.1:0"];
    refused(&arguments, "server.listen");
    server.end(Signal::TERM);
}

#[test]
fn plugins_are_listed_for_people_and_for_programs() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let token = folder.path().join("admin-token");
    let access = ["--admin", &server.admin, "--token-file", token.to_str().unwrap()];
    let list = |more: &[&str]| {
        let output = run(&[&["plugin", "list"], &access[..], more].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(list(&[]).contains("no plugin is installed"));
    assert_eq!(list(&["--json"]), "{\"plugins\":[]}\n");
    refused(&[&["plugin", "rollback", "nobody"], &access[..]].concat(), "nobody");
    let wrong = folder.path().join("wrong");
    std::fs::write(&wrong, "wrong").unwrap();
    let arguments = ["plugin", "list", "--admin", &server.admin, "--token-file", wrong.to_str().unwrap()];
    refused(&arguments, "refused the admin token");
    server.end(Signal::TERM);
}
