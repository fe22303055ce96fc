//! Counts the lines of a file as an editor shows them, whatever ends them. Pure.

/// The position in a file, as the number of its line.
///
/// A line ends with LF, CRLF, CR, or CR CR LF, which is a CRLF that a program in text mode has converted once more.
#[derive(Debug, Clone)]
pub(super) struct LineCounter {
    line: u64,
    /// The carriage returns directly before the position.
    returns: u8,
}

impl LineCounter {
    pub(super) fn new() -> Self {
        Self { line: 1, returns: 0 }
    }

    /// The line of the next byte, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    pub(super) fn advance(&mut self, byte: u8) {
        match (byte, self.returns) {
            (b'\r', returns) => {
                self.line += 1;
                self.returns = returns.saturating_add(1);
            }
            (b'\n', returns) => {
                self.line = match returns {
                    0 => self.line + 1,
                    1 => self.line,
                    // CR CR LF is one line end, but both carriage returns were counted.
                    _ => self.line - 1,
                };
                self.returns = 0;
            }
            _ => self.returns = 0,
        }
    }

    pub(super) fn advance_all(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.advance(*byte));
    }
}

/// Whether the byte ends a line, or is part of a line end.
pub(super) fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// The lines of a text that no file has to be read for. Parts of one line end do not make an empty line, but blank lines
/// are lost; use it where only the text of the lines matters.
pub(super) fn filled_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| is_line_end(*byte)).filter(|line| !line.trim_ascii().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_line_end_counts_once() {
        for (text, line) in [
            ("", 1),
            ("a", 1),
            ("a\n", 2),
            ("a\nb", 2),
            ("a\r\nb\r\n", 3),
            ("a\rb\rc", 3),
            ("a\r\r\nb\r\r\nc", 3),
            ("a\n\n\nb", 4),
            ("a\r\n\r\nb", 3),
            ("a\r\rb", 3),
            ("a\r\r\r\nb", 3),
            ("a\n\rb", 3),
        ] {
            let mut lines = LineCounter::new();
            lines.advance_all(text.as_bytes());
            assert_eq!(lines.line(), line, "{text:?}");
        }
    }
}
