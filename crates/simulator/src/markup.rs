//! Sanitises HTML as HubSpot's rich text does: keeps plain formatting without attributes; removes scripts, styles and
//! comments with their content, and other tags without it. Pure.

/// Tags that are kept.
const ALLOWED: [&str; 21] = [
    "a",
    "b",
    "blockquote",
    "br",
    "code",
    "div",
    "em",
    "h1",
    "h2",
    "h3",
    "h4",
    "i",
    "li",
    "ol",
    "p",
    "pre",
    "span",
    "strong",
    "sub",
    "u",
    "ul",
];
/// Tags that are removed with their content.
const DROPPED: [&str; 2] = ["script", "style"];

/// Removes what rich text does not keep. A `<` that begins no tag is kept.
pub(super) fn sanitised(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        kept.push_str(before);
        rest = if let Some(comment) = after.strip_prefix("!--") {
            comment.split_once("-->").map_or("", |(_, rest)| rest)
        } else if let Some(tag) = Tag::parse(after) {
            if ALLOWED.contains(&tag.name.as_str()) {
                kept.push_str(if tag.closes { "</" } else { "<" });
                kept.push_str(&tag.name);
                kept.push('>');
            }
            if DROPPED.contains(&tag.name.as_str()) && !tag.closes {
                tag.after_closing_tag()
            } else {
                tag.rest
            }
        } else {
            kept.push('<');
            after
        };
    }
    kept + rest
}

struct Tag<'a> {
    closes: bool,
    name: String,
    /// The text after the tag.
    rest: &'a str,
}

impl<'a> Tag<'a> {
    /// Parses the tag at the beginning of `text`, which starts after the `<`.
    fn parse(text: &'a str) -> Option<Self> {
        let (closes, text) = text.strip_prefix('/').map_or((false, text), |text| (true, text));
        let (tag, rest) = text.split_once('>')?;
        let name = tag.split(|one: char| !one.is_ascii_alphanumeric()).next().unwrap_or_default();
        let is_tag = name.starts_with(|first: char| first.is_ascii_alphabetic());
        is_tag.then(|| Self { closes, name: name.to_ascii_lowercase(), rest })
    }

    /// The text after the matching closing tag; empty if there is none.
    fn after_closing_tag(&self) -> &'a str {
        let end = self.rest.to_ascii_lowercase().find(&format!("</{}", self.name));
        let closing = end.and_then(|at| self.rest.get(at..));
        closing.and_then(|closing| closing.split_once('>')).map_or("", |(_, rest)| rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formatting_is_kept_and_scripts_are_removed() {
        let cases = [
            ("plain, 3 < 5 > 2 & <", "plain, 3 < 5 > 2 & <"),
            ("<b>bold</b> and <I>italic</I>", "<b>bold</b> and <i>italic</i>"),
            ("a<script>alert('</b>')</SCRIPT >b", "ab"),
            ("a<style>p{}", "a"),
            ("<p class=\"x\" onclick='y'>text<br/></p>", "<p>text<br></p>"),
            ("<custom>text</custom><!-- note -->!", "text!"),
        ];
        for (sent, expected) in cases {
            assert_eq!(sanitised(sent), expected, "{sent}");
        }
    }
}
