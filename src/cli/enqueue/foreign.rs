//! Recognises files that are neither CSV nor JSON by their first bytes, and states what to do. Pure.

use encoding_rs::Encoding;

use super::encoding::utf16_without_mark;

/// Begins of files, each with what the file is and what to do.
const SIGNATURES: [(&[u8], &str); 17] = [
    (b"\xD0\xCF\x11\xE0", "an Excel workbook (.xls); save it as \"CSV UTF-8\""),
    (b"\x1F\x8B", "compressed with gzip; decompress it: gunzip --stdout FILE | course-sync enqueue -"),
    (
        b"\x28\xB5\x2F\xFD",
        "compressed with zstd; decompress it: zstd --decompress --stdout FILE | course-sync enqueue -",
    ),
    (b"BZh", "compressed with bzip2; decompress it: bunzip2 --stdout FILE | course-sync enqueue -"),
    (b"\xFD7zXZ", "compressed with xz; decompress it: xz --decompress --stdout FILE | course-sync enqueue -"),
    (b"7z\xBC\xAF", "a 7-Zip archive; unpack it"),
    (b"Rar!", "a RAR archive; unpack it"),
    (b"%PDF", "a PDF document; export the table as CSV"),
    (b"PAR1", "a Parquet file; convert it to CSV or NDJSON"),
    (b"ARROW1", "an Arrow file; convert it to CSV or NDJSON"),
    (b"Obj\x01", "an Avro file; convert it to CSV or NDJSON"),
    (b"SQLite format 3", "an SQLite database; export the table: sqlite3 -csv -header FILE 'select …'"),
    (b"PGDMP", "a dump of pg_dump; export the table: psql, \\copy … to … with (format csv, header)"),
    (b"PGCOPY", "a binary copy of PostgreSQL; export the table with (format csv, header)"),
    (b"{\\rtf", "an RTF document; export the table as CSV"),
    (b"-- MySQL dump", "a dump of mysqldump; export the table as CSV"),
    (
        b"-- PostgreSQL database dump",
        "a dump of pg_dump; export the table: psql, \\copy … to … with (format csv, header)",
    ),
];

/// The beginnings of HTML and XML, in lower case.
const MARKUP: [&[u8]; 6] = [b"<!doctype", b"<html", b"<?xml", b"<table", b"<head", b"<meta"];

/// What the file is and what to do, if it cannot be CSV or JSON in the stated encoding.
pub(super) fn recognize(head: &[u8], stated: Option<&'static Encoding>) -> Option<String> {
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Some(format!("the file is {}", archive(head)));
    }
    let found = SIGNATURES.iter().find(|(start, _)| head.starts_with(start));
    if let Some((_, what)) = found {
        return Some(format!("the file is {what}"));
    }
    let text = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head).trim_ascii_start();
    let begins = |start: &&[u8]| text.get(..start.len()).is_some_and(|it| it.eq_ignore_ascii_case(start));
    if MARKUP.iter().any(begins) {
        return Some(
            "the file is HTML or XML, such as a login page or an Excel export in HTML; export it as CSV"
                .to_owned(),
        );
    }
    match stated {
        None => other_unicode(head).or_else(|| binary(head)),
        Some(stated) => contradiction(head, stated),
    }
}

/// What a ZIP archive contains, by the names of its first members.
fn archive(head: &[u8]) -> &'static str {
    let has = |name: &[u8]| memchr::memmem::find(head, name).is_some();
    if has(b"application/vnd.oasis.opendocument.spreadsheet") {
        "a LibreOffice spreadsheet (.ods); save it as CSV in UTF-8"
    } else if has(b"xl/") || has(b"[Content_Types].xml") {
        "an Excel workbook (.xlsx); save it as \"CSV UTF-8\""
    } else if has(b"Index/") && has(b".iwa") {
        "an Apple Numbers document; export it as CSV"
    } else {
        "a ZIP archive; unpack it: unzip -p FILE | course-sync enqueue -"
    }
}

fn other_unicode(head: &[u8]) -> Option<String> {
    let mark: &[(&[u8], &str)] = &[
        (b"\xFF\xFE\0\0", "UTF-32; convert it with iconv: iconv --from-code UTF-32 --to-code UTF-8"),
        (b"\0\0\xFE\xFF", "UTF-32; convert it with iconv: iconv --from-code UTF-32 --to-code UTF-8"),
        (b"\xFF\xFE", "UTF-16; add --encoding utf-16, or save it as UTF-8"),
        (b"\xFE\xFF", "UTF-16; add --encoding utf-16, or save it as UTF-8"),
    ];
    let found = mark.iter().find(|(start, _)| head.starts_with(start));
    if let Some((_, advice)) = found {
        return Some(format!("the file looks like {advice}"));
    }
    let encoding = utf16_without_mark(head)?;
    let name = encoding.name().to_ascii_lowercase();
    Some(format!("the file looks like UTF-16; add --encoding {name}, or save it as UTF-8"))
}

/// Many control characters: no text in any encoding.
fn binary(head: &[u8]) -> Option<String> {
    let control = |byte: &&u8| matches!(byte, 0..=8 | 14..=26 | 28..=31);
    let count = head.iter().filter(control).count();
    (count > 10 && count * 10 > head.len())
        .then(|| "the file is binary; export it as CSV, or as NDJSON (one JSON object per line)".to_owned())
}

/// The stated encoding is not the one of the file: it is valid UTF-8, which is no accident with several long characters.
fn contradiction(head: &[u8], stated: &'static Encoding) -> Option<String> {
    const MANY: usize = 3;
    let has_mark = Encoding::for_bom(head).is_some();
    let valid = match str::from_utf8(head) {
        Ok(text) => text,
        // The last character may continue after the head.
        Err(error) if error.error_len().is_none() => str::from_utf8(head.get(..error.valid_up_to())?).ok()?,
        Err(_) => return None,
    };
    let long = valid.chars().filter(|c| !c.is_ascii()).count();
    let is_other = stated != encoding_rs::UTF_8 && !has_mark && long >= MANY;
    is_other.then(|| {
        format!("the file is UTF-8, so --encoding {} would change its text; remove the option", stated.name())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(order).collect()
    }

    #[test]
    fn other_files_are_recognised_at_once() {
        let ods = b"PK\x03\x04\0\0mimetypeapplication/vnd.oasis.opendocument.spreadsheetPK";
        let table: [(&[u8], &str); 14] = [
            (b"PK\x03\x04\x14\0\x06\0[Content_Types].xml", "an Excel workbook (.xlsx)"),
            (ods, "a LibreOffice spreadsheet (.ods)"),
            (b"PK\x03\x04\0\0courses.csv", "a ZIP archive"),
            (b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", "an Excel workbook (.xls)"),
            (b"\x1F\x8B\x08", "compressed with gzip"),
            (b"\n<!DOCTYPE html>", "HTML"),
            (b"\xEF\xBB\xBF<?xml version", "HTML or XML"),
            (b"\xFF\xFEa\0", "looks like UTF-16; add --encoding utf-16,"),
            (b"\xFE\xFF\0a", "looks like UTF-16; add --encoding utf-16,"),
            (b"\xFF\xFE\0\0a\0\0\0", "UTF-32"),
            (&utf16("id;名前\r\n1;日本\r\n", u16::to_le_bytes), "--encoding utf-16le"),
            (&utf16("id;名前\r\n1;日本\r\n", u16::to_be_bytes), "--encoding utf-16be"),
            (&[1, 2, 3, 4, 0, 0, 0, 0, 5, 6, 7, 8], "binary"),
            (b"PGDMP\x01", "pg_dump"),
        ];
        for (head, what) in table {
            let found = recognize(head, None).unwrap_or_else(|| panic!("{what}"));
            assert!(found.contains(what), "{found}");
        }
        for text in ["", "a,b\n1,\0\n", "{\"a\":1}", "<a>,b\n", "PK,b\n", "id;größe\n"] {
            assert_eq!(recognize(text.as_bytes(), None), None, "{text}");
        }
    }

    #[test]
    fn a_stated_encoding_that_would_change_the_text_is_refused() {
        let windows = Some(encoding_rs::WINDOWS_1252);
        assert!(recognize("Größe für Ärzte".as_bytes(), windows).unwrap().contains("is UTF-8"));
        assert_eq!(recognize(b"Gr\xF6\xDFe", windows), None);
        assert_eq!(recognize("Größe für Ärzte".as_bytes(), Some(encoding_rs::UTF_8)), None);
        assert_eq!(recognize(&utf16("id;x\n", u16::to_le_bytes), Some(encoding_rs::UTF_16LE)), None);
    }
}
