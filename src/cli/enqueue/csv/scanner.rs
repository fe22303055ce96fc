//! Divides CSV into records and cells, and finds what is not valid CSV in them.
//!
//! May touch: the reader it is given. An unclosed quote, or text after a closing quote, makes a record invalid; the csv
//! crate accepts both and changes or swallows the text. The memory for a record is limited; a record over the limit is
//! still read to its end, so that the next one is found.

use std::io::{self, BufRead, ErrorKind};

use crate::cli::enqueue::lines::{LineCounter, LineEnds};
use crate::cli::enqueue::plan::MAX_LINE_BYTES;

/// How the cells of a record are separated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    pub(super) delimiter: u8,
    /// Quotes enclose cells. If not, they are text.
    pub(super) has_quotes: bool,
}

/// A record: its place in the file, its cells, and whether it is valid.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CsvRecord {
    /// The line at which it begins, from 1.
    pub(super) line: u64,
    /// The line at which it ends.
    pub(super) last_line: u64,
    /// Its size in bytes.
    pub(super) size: usize,
    pub(super) fault: Option<RecordFault>,
    text: Vec<u8>,
    /// Where each cell ends in `text`.
    ends: Vec<usize>,
}

impl CsvRecord {
    /// The number of cells.
    pub(super) fn width(&self) -> usize {
        self.ends.len()
    }

    /// A cell; empty if there are fewer.
    pub(super) fn cell(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(at).and_then(|end| self.text.get(start..*end)).unwrap_or_default()
    }

    pub(super) fn cells(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.width()).map(|at| self.cell(at))
    }

    /// Whether no cell has text: a blank line, or a spreadsheet's empty row.
    fn is_blank(&self) -> bool {
        self.fault.is_none() && self.cells().all(|cell| cell.trim_ascii().is_empty())
    }

    /// Ends the last cell. Where lines end with CRLF, or CR CR LF, the CR of the line end was taken as text.
    fn end_last_cell(&mut self, state: ScanState, ends: LineEnds) {
        let returns = self.open_cell().iter().rev().take(2).take_while(|byte| **byte == b'\r').count();
        if state == ScanState::Unquoted && ends == LineEnds::Lf {
            self.text.truncate(self.text.len() - returns);
        }
        self.end_cell();
    }

    fn end_cell(&mut self) {
        if self.size <= MAX_LINE_BYTES {
            self.ends.push(self.text.len());
        }
    }

    fn open_cell(&self) -> &[u8] {
        self.text.get(self.ends.last().copied().unwrap_or(0)..).unwrap_or_default()
    }
}

/// Why a record is not valid CSV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordFault {
    /// The quote at the beginning of the cell has no closing quote.
    OpenQuote(QuotePlace),
    /// The closing quote of the cell is followed by other text.
    TextAfterQuote {
        place: QuotePlace,
        /// A backslash precedes the quote: the file escapes quotes in another way.
        is_escaped: bool,
    },
    /// The opening quote follows a space.
    SpaceBeforeQuote(QuotePlace),
    /// A quote in a cell without quotes follows a backslash: the file escapes quotes in another way.
    EscapedQuote(QuotePlace),
    /// The record is larger than the limit.
    TooLong,
}

/// Where a quote is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct QuotePlace {
    pub(super) line: u64,
    /// The position of its cell, from 0.
    pub(super) cell: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScanState {
    CellStart,
    Unquoted,
    Quoted,
    /// After a quote inside a quoted cell: the closing one, or the first of two.
    QuoteInQuoted,
    /// After a closing quote and a CR, which must be part of the line end.
    ReturnAfterQuote,
    /// After a fault: up to the end of the line.
    Skipping,
}

/// Reads the records of a file one after the other.
pub(super) struct RecordScanner<R> {
    reader: R,
    dialect: Dialect,
    lines: LineCounter,
    state: ScanState,
    /// Where lines end with CR: an LF that follows is part of the line end.
    is_after_end: bool,
    quote: QuotePlace,
    record: CsvRecord,
}

impl<R: BufRead> RecordScanner<R> {
    pub(super) fn new(reader: R, dialect: Dialect, lines: LineCounter) -> Self {
        Self {
            reader,
            dialect,
            lines,
            state: ScanState::CellStart,
            is_after_end: true,
            quote: QuotePlace::default(),
            record: CsvRecord::default(),
        }
    }

    /// The next record that is not blank; `None` at the end of the file.
    pub(super) fn next_record(&mut self) -> io::Result<Option<CsvRecord>> {
        loop {
            let is_last = !self.scan_record()?;
            let record = std::mem::take(&mut self.record);
            match (record.is_blank(), is_last) {
                (false, _) => return Ok(Some(record)),
                (true, true) => return Ok(None),
                (true, false) => {}
            }
        }
    }

    /// Skips one line, which is not read as a record.
    pub(super) fn skip_line(&mut self) -> io::Result<()> {
        let has_quotes = std::mem::replace(&mut self.dialect.has_quotes, false);
        let skipped = self.scan_record();
        self.dialect.has_quotes = has_quotes;
        self.record = CsvRecord::default();
        skipped.map(|_| ())
    }

    /// Scans one record, which may be blank. False at the end of the file.
    fn scan_record(&mut self) -> io::Result<bool> {
        self.state = ScanState::CellStart;
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if buffer.is_empty() {
                self.end_file();
                return Ok(false);
            }
            let mut used = 0;
            let mut is_complete = false;
            // The scanner's parts are borrowed one by one, because the buffer belongs to the reader.
            let mut step = Step {
                dialect: self.dialect,
                lines: &mut self.lines,
                state: &mut self.state,
                is_after_end: &mut self.is_after_end,
                quote: &mut self.quote,
                record: &mut self.record,
            };
            for byte in buffer {
                used += 1;
                if step.take(*byte) {
                    is_complete = true;
                    break;
                }
            }
            self.reader.consume(used);
            if is_complete {
                return Ok(true);
            }
        }
    }

    fn end_file(&mut self) {
        if self.state == ScanState::Quoted {
            self.record.fault = Some(RecordFault::OpenQuote(self.quote));
        }
        if self.record.size > 0 {
            self.record.end_last_cell(self.state, self.lines.ends());
        }
    }
}

/// One step of the scanner.
struct Step<'s> {
    dialect: Dialect,
    lines: &'s mut LineCounter,
    state: &'s mut ScanState,
    is_after_end: &'s mut bool,
    quote: &'s mut QuotePlace,
    record: &'s mut CsvRecord,
}

impl Step<'_> {
    /// Takes a byte. True if it ends the record.
    fn take(&mut self, byte: u8) -> bool {
        let ends = self.lines.ends();
        let is_rest_of_end = std::mem::take(self.is_after_end) && byte == b'\n' && ends == LineEnds::Cr;
        let ends_record = byte == ends.byte() && *self.state != ScanState::Quoted;
        if ends_record {
            self.record.end_last_cell(*self.state, ends);
            *self.is_after_end = true;
        } else if !is_rest_of_end {
            self.take_text(byte);
        }
        self.lines.advance(byte);
        ends_record
    }

    fn take_text(&mut self, byte: u8) {
        if self.record.size == 0 {
            self.record.line = self.lines.line();
        }
        if !matches!(byte, b'\n' | b'\r') {
            self.record.last_line = self.lines.line();
        }
        self.record.size = self.record.size.saturating_add(1);
        if self.record.size > MAX_LINE_BYTES {
            self.drop_text();
        }
        let is_quote = byte == b'"' && self.dialect.has_quotes;
        let is_delimiter = byte == self.dialect.delimiter;
        match self.state {
            ScanState::CellStart if is_quote => {
                *self.quote = self.place();
                *self.state = ScanState::Quoted;
            }
            ScanState::Quoted if is_quote => *self.state = ScanState::QuoteInQuoted,
            ScanState::Quoted => self.push(byte),
            ScanState::QuoteInQuoted if is_quote => {
                self.push(byte);
                *self.state = ScanState::Quoted;
            }
            ScanState::Skipping => {}
            ScanState::CellStart | ScanState::Unquoted | ScanState::QuoteInQuoted if is_delimiter => {
                self.record.end_cell();
                *self.state = ScanState::CellStart;
            }
            ScanState::QuoteInQuoted | ScanState::ReturnAfterQuote
                if byte == b'\r' && self.lines.ends() == LineEnds::Lf =>
            {
                *self.state = ScanState::ReturnAfterQuote;
            }
            ScanState::QuoteInQuoted | ScanState::ReturnAfterQuote => {
                let is_escaped = self.record.open_cell().ends_with(b"\\");
                self.fail(RecordFault::TextAfterQuote { place: *self.quote, is_escaped });
            }
            ScanState::Unquoted if is_quote && self.record.open_cell().iter().all(|byte| *byte == b' ') => {
                self.fail(RecordFault::SpaceBeforeQuote(self.place()));
            }
            ScanState::Unquoted if is_quote && self.record.open_cell().ends_with(b"\\") => {
                self.fail(RecordFault::EscapedQuote(self.place()));
            }
            ScanState::CellStart | ScanState::Unquoted => {
                self.push(byte);
                *self.state = ScanState::Unquoted;
            }
        }
    }

    fn place(&self) -> QuotePlace {
        QuotePlace { line: self.lines.line(), cell: self.record.ends.len() }
    }

    fn push(&mut self, byte: u8) {
        if self.record.size <= MAX_LINE_BYTES {
            self.record.text.push(byte);
        }
    }

    /// Over the limit, nothing more is kept, so memory stays bounded whatever the record holds.
    fn drop_text(&mut self) {
        self.record.fault.get_or_insert(RecordFault::TooLong);
        self.record.text = Vec::new();
        self.record.ends = Vec::new();
    }

    /// The rest of the line cannot be divided into cells.
    fn fail(&mut self, fault: RecordFault) {
        self.record.fault = Some(fault);
        *self.state = ScanState::Skipping;
    }
}

#[cfg(test)]
mod tests;
