//! The `course-sync` program: parses the command line, calls the library, sets the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    course_sync::cli::main()
}
