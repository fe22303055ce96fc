//! What the options mean for a table: parses names and pairs, and compares them with what is known of it. Pure.

use super::args::AttachArgs;
use crate::cli::outcome::{UsageError, unknown_property};
use crate::course::is_property_name;
use crate::outbox::attach::plan::{Attachment, TableName, TableShape};
use crate::outbox::attach::table::KnownTable;

/// How similar a name must be to be suggested (Jaro-Winkler).
const MIN_SIMILARITY: f64 = 0.75;
/// The tables of course-sync itself.
const OWN_TABLES: &str = "course_sync_";

/// A table as the operator writes it: `courses`, `catalogue.courses`, `"My Schema"."Courses"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WrittenTable {
    /// The schema, if it is given.
    pub(super) schema: Option<NamePart>,
    pub(super) name: NamePart,
}

/// A part of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamePart {
    text: String,
    is_quoted: bool,
}

impl NamePart {
    /// As SQL reads it: in lower case, unless it is quoted.
    pub(super) fn folded(&self) -> String {
        if self.is_quoted { self.text.clone() } else { self.text.to_lowercase() }
    }

    /// As it is written.
    pub(super) fn exact(&self) -> &str {
        &self.text
    }
}

/// Parses the name of a table.
pub(super) fn parse_table(text: &str) -> Result<WrittenTable, UsageError> {
    let wrong = || UsageError(format!("{text:?} is not the name of a table; write TABLE or SCHEMA.TABLE"));
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (part, after) = parse_part(rest).ok_or_else(wrong)?;
        parts.push(part);
        match after.strip_prefix('.') {
            Some(more) => rest = more,
            None if after.is_empty() => break,
            None => return Err(wrong()),
        }
    }
    let mut parts = parts.into_iter();
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, _) => Ok(WrittenTable { schema: None, name }),
        (Some(schema), Some(name), None) => Ok(WrittenTable { schema: Some(schema), name }),
        _ => Err(wrong()),
    }
}

/// The first part of a name, and what follows it.
fn parse_part(text: &str) -> Option<(NamePart, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find('.').unwrap_or(text.len());
        let (part, rest) = text.split_at(end);
        let is_name =
            !part.is_empty() && !part.contains(['"', '\'', ';', '(']) && !part.contains(char::is_control);
        return is_name.then(|| (NamePart { text: part.to_owned(), is_quoted: false }, rest));
    };
    let mut name = String::new();
    let mut chars = quoted.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' if chars.next_if(|(_, next)| *next == '"').is_some() => name.push('"'),
            '"' if name.is_empty() => return None,
            '"' => return Some((NamePart { text: name, is_quoted: true }, quoted.get(at + 1..)?)),
            c => name.push(c),
        }
    }
    None
}

/// Combines the options with what is known of the table. Returns the attachment and warnings.
pub(super) fn make_attachment(
    args: &AttachArgs,
    table: TableName,
    outbox: &str,
    shape: &TableShape,
) -> Result<Attachment, UsageError> {
    let map = pairs("--map", "COLUMN=PROPERTY", &args.map, |text| text.rsplit_once('='))?;
    let constants = pairs("--set", "PROPERTY=VALUE", &args.set, |text| text.split_once('='))?;
    check_properties("--map", map.iter().map(|(_, property)| property))?;
    check_properties("--set", constants.iter().map(|(property, _)| property))?;
    let properties = map.iter().map(|(_, property)| property).chain(constants.iter().map(|(name, _)| name));
    let mut properties: Vec<_> = properties.collect();
    properties.sort_unstable();
    if let Some([twice, _]) = properties.windows(2).find(|two| matches!(two, [one, other] if one == other)) {
        return Err(UsageError(format!("property {twice:?} is set twice by --map and --set; remove one")));
    }
    let condition = args.condition.as_deref().map(str::trim).filter(|condition| !condition.is_empty());
    if args.condition.is_some() && condition.is_none() {
        return Err(UsageError("--where is empty".to_owned()));
    }
    let attachment = Attachment {
        table,
        outbox: outbox.to_owned(),
        key: key_columns(&args.key, shape)?,
        separator: args.key_separator.clone(),
        map,
        constants,
        condition: condition.map(str::to_owned),
        zone: args.time_zone.clone(),
    };
    check_columns(&attachment, shape)?;
    Ok(attachment)
}

/// Refuses names that no property of HubSpot can have.
fn check_properties<'a>(
    option: &str,
    mut properties: impl Iterator<Item = &'a String>,
) -> Result<(), UsageError> {
    match properties.find(|property| !is_property_name(property)) {
        Some(property) => Err(unknown_property(option, property)),
        None => Ok(()),
    }
}

fn pairs(
    option: &str,
    form: &str,
    texts: &[String],
    split: impl Fn(&str) -> Option<(&str, &str)>,
) -> Result<Vec<(String, String)>, UsageError> {
    let parse = |text: &String| match split(text) {
        Some((left, right)) if !left.is_empty() && (option == "--set" || !right.is_empty()) => {
            Ok((left.to_owned(), right.to_owned()))
        }
        _ => Err(UsageError(format!("{option} {text:?} does not have the form {form}"))),
    };
    texts.iter().map(parse).collect()
}

/// A text that is the name of a column is this column, even if it contains a comma.
fn key_columns(texts: &[String], shape: &TableShape) -> Result<Vec<String>, UsageError> {
    let mut key: Vec<String> = Vec::new();
    for text in texts {
        match shape.column(text) {
            Some(_) => key.push(text.clone()),
            None => key.extend(text.split(',').map(|part| part.trim().to_owned())),
        }
    }
    if key.iter().any(String::is_empty) {
        return Err(UsageError("--key names an empty column".to_owned()));
    }
    let is_repeated = key.iter().enumerate().any(|(at, name)| key.iter().take(at).any(|other| other == name));
    if is_repeated { Err(UsageError("--key names a column twice".to_owned())) } else { Ok(key) }
}

fn check_columns(attachment: &Attachment, shape: &TableShape) -> Result<(), UsageError> {
    if shape.columns.is_empty() {
        return Ok(());
    }
    for name in attachment.sent_columns() {
        match shape.column(name) {
            Some(column) if column.is_virtual => {
                return Err(UsageError(format!(
                    "column {name:?} is a virtual generated column: triggers do not see its value; make it a stored one"
                )));
            }
            Some(_) => {}
            None => return Err(missing_column(attachment, shape, name)),
        }
    }
    Ok(())
}

fn missing_column(attachment: &Attachment, shape: &TableShape, name: &str) -> UsageError {
    let table = attachment.table.to_sql();
    let wanted = name.to_lowercase();
    let similar = shape
        .columns
        .iter()
        .map(|column| (strsim::jaro_winkler(&column.name.to_lowercase(), &wanted), column.name.as_str()))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|one, other| one.0.total_cmp(&other.0));
    UsageError(match similar {
        Some((_, similar)) => format!("{table} has no column {name:?}; did you mean {similar:?}?"),
        None => {
            let names: Vec<_> = shape.columns.iter().map(|column| format!("{:?}", column.name)).collect();
            format!("{table} has no column {name:?}; its columns are {}", names.join(", "))
        }
    })
}

/// Refuses what cannot be attached.
pub(super) fn check_table(known: &KnownTable) -> Result<(), UsageError> {
    let table = known.name.to_sql();
    if known.name.name.starts_with(OWN_TABLES) || known.name.name == "course_outbox" {
        return Err(UsageError(format!("{table} belongs to course-sync; attach a table of the catalogue")));
    }
    let why = match known.kind.as_str() {
        "v" | "m" => "is a view, and its changes fire no triggers; attach the table that it reads",
        "f" => "is a foreign table, and another server changes it; attach it there",
        _ => match &known.partition_of {
            Some(parent) => {
                return Err(UsageError(format!("{table} is a partition of {parent}; attach {parent}")));
            }
            None => return Ok(()),
        },
    };
    Err(UsageError(format!("{table} {why}")))
}

/// What may surprise the operator.
pub(super) fn warnings(attachment: &Attachment, known: Option<&KnownTable>) -> Vec<String> {
    let mut warnings = Vec::new();
    let table = attachment.table.to_sql();
    match known {
        None => warnings.push(format!(
            "{table} is not in this database, so its columns are not checked, and the SQL is for a table that is neither \
             partitioned nor inherited from"
        )),
        Some(known) => {
            if !known.has_unique_key {
                warnings.push(
                    "no unique index covers the columns of --key: rows with the same key are one course, which gets the values \
                     that were written last and is archived when one of the rows is deleted. Add a unique index, unless --where \
                     selects at most one row for each key"
                        .to_owned(),
                );
            }
            if known.has_relatives {
                warnings.push(format!(
                    "{table} is part of an inheritance hierarchy: only its own rows are sent; attach the other tables too"
                ));
            }
        }
    }
    warnings
}

/// Refuses a table that has the triggers of another attachment.
pub(super) fn check_other_attachment(attachment: &Attachment, known: &KnownTable) -> Result<(), UsageError> {
    let own = attachment.function_name();
    match known.triggers.iter().find(|trigger| trigger.function.name != own) {
        Some(other) => Err(UsageError(format!(
            "{} has the trigger {:?} of another attachment: the table had another name, or feeds another outbox. Run \
             `course-sync detach` first",
            attachment.table.to_sql(),
            other.name
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables_are_read_as_in_sql() {
        for (text, schema, folded, exact) in [
            ("courses", None, "courses", "courses"),
            ("Catalogue.Courses", Some("catalogue"), "courses", "Courses"),
            ("\"My Schema\".\"A.\"\"B\"", Some("My Schema"), "A.\"B", "A.\"B"),
        ] {
            let table = parse_table(text).unwrap();
            assert_eq!(table.schema.map(|part| part.folded()).as_deref(), schema, "{text}");
            assert_eq!((table.name.folded().as_str(), table.name.exact()), (folded, exact), "{text}");
        }
        for wrong in ["", ".", "a.", "a.b.c", "\"\"", "\"a", "\"a\"b", "a;b", "f()"] {
            assert!(parse_table(wrong).is_err(), "{wrong:?}");
        }
    }
}
