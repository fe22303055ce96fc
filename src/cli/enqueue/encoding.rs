//! The encoding of a file: decodes it to UTF-8 while it is read, and explains bytes that are not valid in it.
//!
//! May touch: the reader it is given. Only the option and a byte order mark decide the encoding; it is not guessed.

use std::io::{self, BufRead, ErrorKind, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// Takes the place of bytes that are not valid in the file's encoding. It is never part of UTF-8, so the text that
/// contains it is refused, wherever it is used.
const INVALID: u8 = 0xFF;
/// Bytes that are decoded at once.
const BUFFER_BYTES: usize = 32 * 1024;

/// Finds an encoding by its name, as `--encoding` takes it.
pub(super) fn parse_encoding(name: &str) -> Result<&'static Encoding, String> {
    // What Windows and Python call these encodings.
    let known = match name.to_ascii_lowercase().as_str() {
        "cp932" => "shift_jis",
        "cp936" => "gbk",
        "cp949" => "euc-kr",
        "cp950" => "big5",
        "utf16" => "utf-16",
        _ => name,
    };
    Encoding::for_label_no_replacement(known.as_bytes()).ok_or_else(|| {
        "unknown encoding; use a name of https://encoding.spec.whatwg.org, such as windows-1252, iso-8859-2, utf-16le, \
         shift_jis, gbk or euc-kr, or convert the file with iconv"
            .to_owned()
    })
}

/// The encoding of a file, and whether it was decoded while it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SourceEncoding {
    encoding: &'static Encoding,
    is_decoded: bool,
}

impl SourceEncoding {
    pub(super) const UTF_8: Self = Self { encoding: UTF_8, is_decoded: false };

    /// What the option states; UTF-16 without byte order is determined by the first bytes.
    pub(super) fn new(stated: Option<&'static Encoding>, head: &[u8]) -> Self {
        let Some(stated) = stated else { return Self::UTF_8 };
        let encoding = match Encoding::for_bom(head) {
            Some((by_mark, _)) => by_mark,
            None if stated == UTF_16LE && utf16_without_mark(head) == Some(UTF_16BE) => UTF_16BE,
            None => stated,
        };
        Self { encoding, is_decoded: encoding != UTF_8 }
    }

    pub(super) fn name(&self) -> &'static str {
        self.encoding.name()
    }

    /// The reader's text in UTF-8, without a byte order mark.
    pub(super) fn decode_reader(&self, mut reader: Box<dyn BufRead>) -> io::Result<Box<dyn BufRead>> {
        if self.is_decoded {
            let decoding = DecodingReader::new(reader, self.encoding.new_decoder());
            return Ok(Box::new(io::BufReader::with_capacity(BUFFER_BYTES, decoding)));
        }
        if reader.fill_buf()?.starts_with(b"\xEF\xBB\xBF") {
            reader.consume(3);
        }
        Ok(reader)
    }

    /// The text of these bytes of the decoded file, or why they are not valid.
    pub(super) fn decode(&self, bytes: &[u8]) -> Result<String, String> {
        let error = match str::from_utf8(bytes) {
            Ok(text) => return Ok(text.to_owned()),
            Err(error) => error,
        };
        let shown = escape_invalid(bytes);
        let position = error.valid_up_to() + 1;
        if self.is_decoded {
            return Err(format!("{shown} is not valid {}; check --encoding", self.name()));
        }
        let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
        Err(format!(
            "byte {position} of {shown} is 0x{byte:02X}, which is not UTF-8; state the encoding of the file with --encoding, \
             such as windows-1252"
        ))
    }
}

/// The text in quotes, with each invalid byte as `\xE9`. Of a long text, the part before the first invalid byte.
fn escape_invalid(bytes: &[u8]) -> String {
    const SHOWN: usize = 40;
    let mut shown = String::new();
    for chunk in bytes.utf8_chunks() {
        shown.extend(chunk.valid().chars().flat_map(char::escape_debug));
        shown.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02X}")));
        if shown.chars().count() > SHOWN {
            let skipped = shown.chars().count() - SHOWN;
            return format!("\"…{}…\"", shown.chars().skip(skipped).collect::<String>());
        }
    }
    format!("\"{shown}\"")
}

/// The byte order of UTF-16 without a byte order mark: delimiters and line ends have a zero in every second byte.
pub(super) fn utf16_without_mark(head: &[u8]) -> Option<&'static Encoding> {
    let zeros = |start: usize| head.iter().skip(start).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    let enough = (head.len() / 20).max(2);
    if odd >= enough && even * 10 <= odd {
        Some(UTF_16LE)
    } else if even >= enough && odd * 10 <= even {
        Some(UTF_16BE)
    } else {
        None
    }
}

/// Decodes a reader to UTF-8.
struct DecodingReader {
    reader: Box<dyn BufRead>,
    decoder: Decoder,
    decoded: Vec<u8>,
    /// What of `decoded` was read already.
    used: usize,
    is_over: bool,
}

impl DecodingReader {
    fn new(reader: Box<dyn BufRead>, decoder: Decoder) -> Self {
        Self { reader, decoder, decoded: Vec::new(), used: 0, is_over: false }
    }

    /// Decodes the next part of the file into `decoded`.
    fn decode_next(&mut self) -> io::Result<()> {
        self.used = 0;
        self.decoded.clear();
        self.decoded.resize(BUFFER_BYTES, 0);
        let source = self.reader.fill_buf()?;
        let is_last = source.is_empty();
        // One byte is left for the sign of an invalid sequence.
        let space = self.decoded.get_mut(1..).unwrap_or_default();
        let (result, read, mut written) =
            self.decoder.decode_to_utf8_without_replacement(source, space, is_last);
        self.reader.consume(read);
        self.decoded.copy_within(1..=written, 0);
        match result {
            DecoderResult::Malformed(..) => {
                if let Some(byte) = self.decoded.get_mut(written) {
                    *byte = INVALID;
                }
                written += 1;
            }
            DecoderResult::InputEmpty => self.is_over = is_last,
            DecoderResult::OutputFull => {}
        }
        self.decoded.truncate(written);
        Ok(())
    }
}

impl Read for DecodingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.used >= self.decoded.len() && !self.is_over {
            match self.decode_next() {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => other?,
            }
        }
        let mut rest = self.decoded.get(self.used..).unwrap_or_default();
        let read = rest.read(buffer)?;
        self.used += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8], name: &str) -> Vec<u8> {
        // A buffer of three bytes divides every sequence.
        let bytes: Vec<u8> = bytes.to_vec();
        let encoding = SourceEncoding::new(Some(parse_encoding(name).unwrap()), &bytes);
        let reader = io::BufReader::with_capacity(3, io::Cursor::new(bytes));
        let mut decoded = Vec::new();
        encoding.decode_reader(Box::new(reader)).unwrap().read_to_end(&mut decoded).unwrap();
        decoded
    }

    #[test]
    fn files_are_decoded_and_invalid_sequences_stay_visible() {
        let table: [(&[u8], &str, &[u8]); 12] = [
            (b"Gr\xF6\xDFe \x80", "windows-1252", "Größe €".as_bytes()),
            (b"Gr\xF6\xDFe", "latin1", "Größe".as_bytes()),
            (b"\x8D\xB1", "cp932", "些".as_bytes()),
            (b"\xFF\xFEa\0\xFC\0", "utf-16", "aü".as_bytes()),
            (b"\xFE\xFF\0a\0\xFC", "utf16", "aü".as_bytes()),
            (b"a\0;\0\xFC\0", "utf-16le", "a;ü".as_bytes()),
            (b"\0a\0;\0\xFC", "utf-16", "a;ü".as_bytes()),
            // Half of a surrogate pair, and half of a character.
            (b"\xFF\xFE\x3D\xD8a\0", "utf-16", b"\xFFa"),
            (b"\xFF\xFEa\0b", "utf-16", b"a\xFF"),
            (b"a\x81", "shift_jis", b"a\xFF"),
            // A mark is stronger than the option.
            (b"\xEF\xBB\xBF\xC3\xBC", "windows-1252", "ü".as_bytes()),
            (b"\xC3\xBC", "utf-8", "ü".as_bytes()),
        ];
        for (bytes, name, text) in table {
            let decoded = decode(bytes, name);
            assert_eq!(decoded, text, "{name} {}: {}", bytes.escape_ascii(), decoded.escape_ascii());
        }
        let long = "ü€日".repeat(50_000);
        let utf16: Vec<u8> = long.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(decode(&utf16, "utf-16le"), long.as_bytes());
    }

    #[test]
    fn encodings_are_found_by_many_names() {
        for name in ["windows-1252", "CP1252", "Latin1", "ISO-8859-15", "gbk", "cp949", "koi8-r", "macintosh"]
        {
            assert!(parse_encoding(name).is_ok(), "{name}");
        }
        for name in ["", "cp037", "ebcdic", "replacement", "iso-2022-kr"] {
            assert!(parse_encoding(name).is_err(), "{name}");
        }
    }

    #[test]
    fn an_invalid_byte_is_named_with_its_place() {
        let why = SourceEncoding::UTF_8.decode(b"Caf\xE9 \"x\"").unwrap_err();
        assert!(why.starts_with(r#"byte 4 of "Caf\xE9 \"x\"" is 0xE9, which is not UTF-8"#), "{why}");
        let long = [&[b'x'; 100][..], b"\xE9", &[b'y'; 100]].concat();
        let why = SourceEncoding::UTF_8.decode(&long).unwrap_err();
        assert!(why.starts_with("byte 101 of \"…xxx") && why.contains(r"x\xE9…"), "{why}");
    }
}
