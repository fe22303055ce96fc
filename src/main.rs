//! The `course-sync` program: parses the command line, calls the library, sets the exit code.

fn main() {}
