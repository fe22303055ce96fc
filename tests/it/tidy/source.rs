//! Splits a Rust file into code, comments and strings, so that a rule about one is not misled by another.

/// A Rust file.
pub struct Source {
    /// The path from the root of the repository, with `/`.
    pub path: String,
    /// The whole text.
    pub text: String,
    /// The text with comments and literals replaced by spaces, so that lines and columns stay the same.
    pub code: String,
    /// The comments, each with the number of its first line, from 1.
    pub comments: Vec<(usize, String)>,
    /// The string literals, each with the number of its first line.
    pub strings: Vec<(usize, String)>,
}

enum Piece {
    Code,
    Comment,
    Literal,
}

impl Source {
    /// Splits a text into its pieces.
    pub fn new(path: &str, text: &str) -> Self {
        let mut source = Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code: String::new(),
            comments: Vec::new(),
            strings: Vec::new(),
        };
        let (mut rest, mut line) = (text, 1);
        while !rest.is_empty() {
            let in_word = source.code.ends_with(is_word);
            let (piece, length) = first_piece(rest, in_word);
            let (content, after) = rest.split_at(length);
            match piece {
                Piece::Code => source.code.push_str(content),
                Piece::Comment => source.comments.push((line, content.to_owned())),
                Piece::Literal => source.strings.push((line, content.to_owned())),
            }
            if !matches!(piece, Piece::Code) {
                source.code.extend(content.chars().map(|c| if c == '\n' { c } else { ' ' }));
            }
            line += content.matches('\n').count();
            rest = after;
        }
        source
    }

    /// The line number, from 1, of a byte position in [`code`](Self::code).
    pub fn line_of(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    /// The text of a violation in this file.
    pub fn finding(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path)
    }

    /// Where the tests of the file begin in [`code`](Self::code). Tests are at the end of a file or in their own file.
    pub fn tests_begin(&self) -> usize {
        if self.path.ends_with("/tests.rs") || self.path.contains("/tests/") {
            return 0;
        }
        self.code.find("#[cfg(test)]").unwrap_or(self.code.len())
    }

    /// The positions of `word` in the code, except where it is the end of a longer identifier.
    pub fn word<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let begins = |at: &usize| !self.code[..*at].ends_with(is_word);
        self.code.match_indices(word).map(|(at, _)| at).filter(begins)
    }
}

/// Whether a character can be part of an identifier.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn first_piece(rest: &str, in_word: bool) -> (Piece, usize) {
    if rest.starts_with("//") {
        return (Piece::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Piece::Comment, block_comment(rest));
    }
    let literal =
        quoted(rest, '"').or_else(|| raw_string(rest).filter(|_| !in_word)).or_else(|| char_of(rest));
    let code = || rest.chars().next().map_or(0, char::len_utf8);
    literal.map_or_else(|| (Piece::Code, code()), |length| (Piece::Literal, length))
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    for at in 0..rest.len() {
        match &rest.as_bytes()[at..(at + 2).min(rest.len())] {
            b"/*" => depth += 1,
            b"*/" if depth == 1 => return at + 2,
            b"*/" => depth -= 1,
            _ => {}
        }
    }
    rest.len()
}

fn quoted(rest: &str, quote: char) -> Option<usize> {
    let content = rest.strip_prefix(quote)?;
    let mut escaped = false;
    for (at, c) in content.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(at + 2),
            _ => {}
        }
    }
    Some(rest.len())
}

fn raw_string(rest: &str) -> Option<usize> {
    let after_r = rest.strip_prefix('r').or_else(|| rest.strip_prefix("br"))?;
    let content = after_r.trim_start_matches('#');
    let hashes = "#".repeat(after_r.len() - content.len());
    let content = content.strip_prefix('"')?;
    let end = content.find(&format!("\"{hashes}")).map_or(content.len(), |at| at + 1 + hashes.len());
    Some(rest.len() - content.len() + end)
}

/// The length of a character literal; a lifetime is none.
fn char_of(rest: &str) -> Option<usize> {
    let content = rest.strip_prefix('\'')?;
    let is_escape = content.starts_with('\\');
    (is_escape || content.chars().nth(1) == Some('\'')).then(|| quoted(rest, '\''))?
}
