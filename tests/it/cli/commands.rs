//! The short commands and how `run` begins, by the real program: exit codes, stdout, stderr.
