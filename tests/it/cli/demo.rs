//! `course-sync demo`, the real program: it keeps its promise, asks nothing of its surroundings and
//! leaves nothing behind.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A temp directory for one run: whatever the run leaves behind lies in it.
fn scratch() -> TempDir {
    let scratch = tempfile::tempdir().unwrap();
    // Run by root, Postgres is another user, who must get through.
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o711)).unwrap();
    scratch
}

fn demo(scratch: &TempDir, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_course-sync"));
    command.arg("demo").args(options).env("TMPDIR", scratch.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Whether a process of the throwaway Postgres is there.
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

/// The figure in the closing table's row of this name.
fn figure<'a>(table: &'a str, name: &str) -> &'a str {
    let row = table.lines().find_map(|line| line.trim_start().strip_prefix(name));
    row.and_then(|row| row.split_whitespace().next()).unwrap_or_else(|| panic!("no {name} in:\n{table}"))
}

/// Sends a signal, by the program that every system has.
fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// The exit code of a program that has said its last line.
fn ended(child: &mut Child) -> i32 {
    child.wait().unwrap().code().expect("an exit code, not a death by signal")
}

#[test]
fn every_course_ends_where_it_belongs_whatever_the_surroundings() {
    let scratch = scratch();
    let hostile = [
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
    let output = demo(&scratch, &["--courses", "300"]).envs(hostile).output().unwrap();
    let (table, told) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{table}\n{told}");

    let expected = [("courses ", "300"), ("synced ", "294"), ("adopted ", "2"), ("failed ", "4")];
    for (name, value) in expected {
        assert_eq!(figure(&table, name), value, "{name}\n{table}");
    }
    assert!(figure(&table, "worst window").parse::<u32>().unwrap() <= 190, "{table}");
    for code in
        ["PROPERTY_DOESNT_EXIST room_nr", "INVALID_INTEGER", "INVALID_OPTION online", "hs_course_name"]
    {
        assert!(table.contains(code), "{code}\n{table}");
    }
    for story in ["1 request got no answer", "2 requests answered 502", "3 requests answered 429"] {
        assert!(table.contains(story), "{story}\n{table}");
    }
    assert!(table.contains("none created twice") && !table.contains("TWICE"), "{table}");
    assert!(table.contains("Checked: 296 records in HubSpot, no duplicates, none lost."), "{table}");
    // Neither is a terminal: no colours, no bar, and lines that fit.
    assert!(!table.contains('\u{1b}') && !told.contains('\u{1b}'), "{table}\n{told}");
    assert!(table.lines().all(|line| line.chars().count() <= 90 && line.trim_end() == line), "{table}");
    assert!(told.contains("console   http://127.0.0.1:"), "{told}");
    assert!(!told.contains("WARN"), "{told}");
    assert_nothing_is_left(&scratch);
}

#[test]
fn a_signal_in_the_middle_leaves_nothing_behind() {
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let scratch = scratch();
        let mut child = demo(&scratch, &["--courses", "40000"]).spawn().unwrap();
        let mut told = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(told.any(|line| line.contains(" synced ")), "it began to send");
        assert!(is_postgres_running(&scratch));
        signal(&child, name);
        let rest: Vec<String> = told.collect();
        assert_eq!(ended(&mut child), code, "{rest:?}");
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
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(told.any(|line| line.contains("Starting")));
    signal(&child, "INT");
    let rest: Vec<String> = told.collect();
    assert_eq!(ended(&mut child), 130, "{rest:?}");
    assert_nothing_is_left(&scratch);
}

#[test]
fn kept_open_it_answers_until_a_signal() {
    let scratch = scratch();
    let mut child = demo(&scratch, &["--courses", "100", "--keep-open"]).spawn().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let console =
        told.find_map(|line| line.trim_start().strip_prefix("console").map(|url| url.trim().to_owned()));
    assert!(told.any(|line| line.contains("until Ctrl-C")));
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
    let rest: Vec<String> = told.collect();
    assert_eq!(ended(&mut child), 0, "{rest:?}");
    assert_nothing_is_left(&scratch);
}
