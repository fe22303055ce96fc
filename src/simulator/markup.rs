//! What HubSpot's rich text keeps of HTML: plain formatting without attributes; scripts, styles and comments
//! go with their content, other tags without it. Pure.

/// The tags that stay.
const KEPT: [&str; 21] = [
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
/// The tags whose content is code.
const DROPPED: [&str; 2] = ["script", "style"];

/// `text` without what rich text does not keep. A `<` that begins no tag stays.
pub(super) fn sanitised(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        kept.push_str(before);
        rest = if let Some(comment) = after.strip_prefix("!--") {
            comment.split_once("-->").map_or("", |(_, rest)| rest)
        } else if let Some(tag) = Tag::parse(after) {
            if KEPT.contains(&tag.name.as_str()) {
                kept.push_str(if tag.closes { "</" } else { "<" });
                kept.push_str(&tag.name);
                kept.push('>');
            }
            if DROPPED.contains(&tag.name.as_str()) && !tag.closes { tag.behind_its_end() } else { tag.rest }
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
    /// What follows the tag.
    rest: &'a str,
}

impl<'a> Tag<'a> {
    /// The tag that `text` begins with, behind its `<`.
    fn parse(text: &'a str) -> Option<Self> {
        let (closes, text) = text.strip_prefix('/').map_or((false, text), |text| (true, text));
        let (tag, rest) = text.split_once('>')?;
        let name = tag.split(|one: char| !one.is_ascii_alphanumeric()).next().unwrap_or_default();
        let is_tag = name.starts_with(|first: char| first.is_ascii_alphabetic());
        is_tag.then(|| Self { closes, name: name.to_ascii_lowercase(), rest })
    }

    /// What follows the closing tag of the same name; nothing where there is none.
    fn behind_its_end(&self) -> &'a str {
        let end = self.rest.to_ascii_lowercase().find(&format!("</{}", self.name));
        let closing = end.and_then(|at| self.rest.get(at..));
        closing.and_then(|closing| closing.split_once('>')).map_or("", |(_, rest)| rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formatting_stays_and_code_goes() {
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
