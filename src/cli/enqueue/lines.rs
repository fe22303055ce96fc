//! Where the lines of a file end, and which line a position is on. Pure.

/// How the lines of a file end. In a file of one kind, the other character is text, because many programs do not quote
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineEnds {
    /// LF; also CRLF, and CR CR LF, which is a CRLF that a program in text mode has converted once more.
    Lf,
    /// CR. An LF directly after it belongs to the line end.
    Cr,
}

impl LineEnds {
    /// Decided by the first line end; with quotes, by the first one that is not inside them.
    pub(super) fn detect(text: &[u8], has_quotes: bool) -> Self {
        let mut is_quoted = false;
        let mut ends = text.iter().enumerate().filter(|(_, byte)| matches!(byte, b'"' | b'\n' | b'\r'));
        let first = ends.find(|(_, byte)| {
            is_quoted ^= **byte == b'"';
            **byte != b'"' && !is_quoted
        });
        let any = || text.iter().enumerate().find(|(_, byte)| matches!(byte, b'\n' | b'\r'));
        match first.filter(|_| has_quotes).or_else(any) {
            Some((at, b'\r')) => {
                let rest = text.get(at + 1..).unwrap_or_default();
                if rest.starts_with(b"\n") || rest.starts_with(b"\r\n") { Self::Lf } else { Self::Cr }
            }
            _ => Self::Lf,
        }
    }

    /// The character at which a line ends.
    pub(super) fn byte(self) -> u8 {
        match self {
            Self::Lf => b'\n',
            Self::Cr => b'\r',
        }
    }
}

/// The position in a file, as the number of its line.
#[derive(Debug, Clone)]
pub(super) struct LineCounter {
    ends: LineEnds,
    line: u64,
}

impl LineCounter {
    pub(super) fn new(ends: LineEnds) -> Self {
        Self { ends, line: 1 }
    }

    pub(super) fn ends(&self) -> LineEnds {
        self.ends
    }

    /// The line of the next byte, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    pub(super) fn advance(&mut self, byte: u8) {
        self.line += u64::from(byte == self.ends.byte());
    }
}

/// The lines that have text, with their numbers.
pub(super) fn filled_lines<'t>(
    text: &'t [u8],
    lines: &LineCounter,
) -> impl Iterator<Item = (u64, &'t [u8])> + use<'t> {
    let end = lines.ends.byte();
    let numbered = (lines.line..).zip(text.split(move |byte| *byte == end));
    numbered.map(|(number, line)| (number, line.trim_ascii())).filter(|(_, line)| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_line_end_counts_once() {
        for (text, ends, line) in [
            ("", LineEnds::Lf, 1),
            ("a\n", LineEnds::Lf, 2),
            ("a\r\nb\r\n", LineEnds::Lf, 3),
            ("a\rb\rc", LineEnds::Cr, 3),
            ("a\r\r\nb\r\r\nc", LineEnds::Lf, 3),
            ("a\n\n\nb", LineEnds::Lf, 4),
            ("a\r\rb", LineEnds::Cr, 3),
            ("a\rb\r\nc", LineEnds::Cr, 3),
            // The other character is text.
            ("a\nb\rc\n", LineEnds::Lf, 3),
            ("\"a\nb\"\rc\r", LineEnds::Cr, 3),
            ("\"a\rb\"\nc\n", LineEnds::Lf, 3),
            // A quote that is never closed.
            ("\"a\rb", LineEnds::Cr, 2),
        ] {
            assert_eq!(LineEnds::detect(text.as_bytes(), true), ends, "{text:?}");
            let mut lines = LineCounter::new(ends);
            text.bytes().for_each(|byte| lines.advance(byte));
            assert_eq!(lines.line(), line, "{text:?}");
        }
    }

    #[test]
    fn quotes_are_ignored_on_request() {
        let text = b"\"a\rb\"\nc";
        assert_eq!([true, false].map(|quotes| LineEnds::detect(text, quotes)), [LineEnds::Lf, LineEnds::Cr]);
    }

    #[test]
    fn lines_with_text_have_their_numbers() {
        let lines = LineCounter::new(LineEnds::Lf);
        let found: Vec<_> = filled_lines(b"a\r\n\r\n b\n", &lines).collect();
        assert_eq!(found, [(1, &b"a"[..]), (3, b"b")]);
    }
}
