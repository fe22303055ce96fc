//! `course-sync demo`, run as the real program: it succeeds in any environment and leaves nothing behind.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A temp directory for one run, so that anything left behind is found.
fn scratch() -> TempDir {
    let scratch = tempfile::tempdir().unwrap();
    // When tests run as root, Postgres runs as another user, who needs access.
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o711)).unwrap();
    scratch
}

fn demo(scratch: &TempDir, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_course-sync"));
    command.arg("demo").args(options).env("TMPDIR", scratch.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Whether a process of the throwaway Postgres is running.
fn is_postgres_running(scratch: &TempDir) -> bool {
    let listing = Command::new("ps").args(["-eww", "-o", "args="]).output().unwrap();
    let needle = format!("{}/course-sync-pg-", scratch.path().display());
    String::from_utf8_lossy(&listing.stdout).contains(&needle)
}

fn assert_nothing_is_left(scratch: &TempDir) {
    let left: Vec<_> =
        fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    assert!(!is_postgres_running(scratch), "Postgres still runs");
}

/// The figure in the row of the closing table with this name.
fn figure<'a>(table: &'a str, name: &str) -> &'a str {
    let row = table.lines().find_map(|line| line.trim_start().strip_prefix(name));
    row.and_then(|row| row.split_whitespace().next()).unwrap_or_else(|| panic!("no {name} in:\n{table}"))
}

/// Sends a signal with the `kill` program.
fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// Waits for the program to end. Returns its exit code.
fn exit_code(child: &mut Child) -> i32 {
    child.wait().unwrap().code().expect("an exit code, not a death by signal")
}

#[test]
fn every_course_ends_in_the_right_state_in_any_environment() {
    let scratch = scratch();
    let environment = [
        ("DATABASE_URL", "mysql://nowhere"),
        ("HUBSPOT_ACCESS_TOKEN", "not for the demo"),
        ("COURSE_SYNC_CONFIG", "/no/such/file.toml"),
        ("COURSE_SYNC__BATCH__MAX_SIZE", "a lot"),
        ("COURSE_SYNC__NO__SUCH_KEY", "1"),
        ("PGHOST", "192.0.2.1"),
        ("PGPORT", "1"),
        ("PGSSLMODE", "verify-full"),
        ("HTTP_PROXY", "http://192.0.2.1:1"),
        ("http_proxy", "http://192.0.2.1:1"),
    ];
    let output = demo(&scratch, &["--courses", "300"]).envs(environment).output().unwrap();
    let (table, log) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{table}\n{log}");

    let expected = [
        ("courses ", "300"),
        ("synced ", "294"),
        ("adopted ", "2"),
        ("changed ", "30"),
        ("withdrawn ", "3"),
        ("failed ", "4"),
    ];
    for (name, value) in expected {
        assert_eq!(figure(&table, name), value, "{name}\n{table}");
    }
    assert!(figure(&table, "worst window").parse::<u32>().unwrap() <= 190, "{table}");
    for code in
        ["PROPERTY_DOESNT_EXIST room_nr", "INVALID_INTEGER", "INVALID_OPTION online", "hs_course_name"]
    {
        assert!(table.contains(code), "{code}\n{table}");
    }
    for incident in ["1 request got no response", "2 requests answered 502", "3 requests answered 429"] {
        assert!(table.contains(incident), "{incident}\n{table}");
    }
    assert!(table.contains("none created twice") && !table.contains("TWICE"), "{table}");
    let checked = "Checked: 293 records in HubSpot, no duplicates, none lost, every change in place.";
    assert!(table.contains(checked), "{table}");
    // Neither output is a terminal: no colours, no bar, and lines that fit.
    assert!(!table.contains('\u{1b}') && !log.contains('\u{1b}'), "{table}\n{log}");
    assert!(table.lines().all(|line| line.chars().count() <= 90 && line.trim_end() == line), "{table}");
    assert!(log.contains("console   http://127.0.0.1:"), "{log}");
    assert!(!log.contains("WARN"), "{log}");
    assert_nothing_is_left(&scratch);
}

#[test]
fn a_signal_in_the_middle_leaves_nothing_behind() {
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let scratch = scratch();
        let mut child = demo(&scratch, &["--courses", "40000"]).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(log.any(|line| line.contains(" synced ")), "sending began");
        assert!(is_postgres_running(&scratch));
        signal(&child, name);
        let rest: Vec<String> = log.collect();
        assert_eq!(exit_code(&mut child), code, "{rest:?}");
        let mut table = String::new();
        child.stdout.take().unwrap().read_to_string(&mut table).unwrap();
        assert_eq!(table, "", "no closing table");
        assert!(rest.iter().any(|line| line.contains("nothing is left behind")), "{rest:?}");
        assert_nothing_is_left(&scratch);
    }
}

#[test]
fn a_signal_while_postgres_starts_leaves_nothing_behind() {
    let scratch = scratch();
    let mut child = demo(&scratch, &[]).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(log.any(|line| line.contains("Starting")));
    signal(&child, "INT");
    let rest: Vec<String> = log.collect();
    assert_eq!(exit_code(&mut child), 130, "{rest:?}");
    assert_nothing_is_left(&scratch);
}

#[test]
fn keep_open_serves_the_console_until_a_signal() {
    let scratch = scratch();
    let mut child = demo(&scratch, &["--courses", "100", "--keep-open"]).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let console =
        log.find_map(|line| line.trim_start().strip_prefix("console").map(|url| url.trim().to_owned()));
    assert!(log.any(|line| line.contains("until Ctrl-C")));
    let address = console.unwrap().replace("http://", "");
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    std::io::Write::write_all(
        &mut stream,
        format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )
    .unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    signal(&child, "INT");
    let rest: Vec<String> = log.collect();
    assert_eq!(exit_code(&mut child), 0, "{rest:?}");
    assert_nothing_is_left(&scratch);
}
