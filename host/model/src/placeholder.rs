//! The placeholder grammar of the Score tools.
//!
//! `${a.b}` is a reference; `$${…}` is the text `${…}`; `$$` is `$`; any other `$` stays. `\.` inside a
//! reference is a dot of a name. Nothing nests: a reference ends at the first `}`.

use std::borrow::Cow;

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment<'t> {
    /// Text as it will be.
    Text(Cow<'t, str>),
    /// What stood between `${` and `}`.
    Reference(&'t str),
}

/// Splits a text into its pieces.
#[must_use]
pub fn parse(text: &str) -> Vec<Segment<'_>> {
    let mut segments = Vec::new();
    let mut rest = text;
    let push_text = |segments: &mut Vec<Segment<'_>>, text: &str| {
        if text.is_empty() {
            return;
        }
        match segments.last_mut() {
            Some(Segment::Text(before)) => before.to_mut().push_str(text),
            _ => segments.push(Segment::Text(Cow::Owned(text.to_owned()))),
        }
    };
    while let Some(start) = rest.find('$') {
        let (before, at) = rest.split_at(start);
        push_text(&mut segments, before);
        let braced = |offset: usize| {
            at.get(offset..).filter(|tail| tail.starts_with('{')).and_then(|tail| tail.find('}')).map(|end| offset + end + 1)
        };
        if let Some(end) = braced(1) {
            segments.push(Segment::Reference(at.get(2..end - 1).unwrap_or_default()));
            rest = at.get(end..).unwrap_or_default();
        } else if let Some(end) = at.get(1..).filter(|tail| tail.starts_with('$')).and_then(|_| braced(2)) {
            push_text(&mut segments, at.get(1..end).unwrap_or_default());
            rest = at.get(end..).unwrap_or_default();
        } else if at.starts_with("$$") {
            push_text(&mut segments, "$");
            rest = at.get(2..).unwrap_or_default();
        } else {
            push_text(&mut segments, "$");
            rest = at.get(1..).unwrap_or_default();
        }
    }
    push_text(&mut segments, rest);
    segments
}

/// Tells whether a text holds a reference or an escape: most don't.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    !text.contains('$')
}

/// Returns the rest of a text from a `${` on that no `}` ends: it is no reference, and stays as it is.
#[must_use]
pub fn unclosed(text: &str) -> Option<&str> {
    // Whatever follows the last brace is read from left to right: `$$` stands for one `$`.
    let tail = text.rfind('}').map_or(text, |end| text.get(end + 1..).unwrap_or_default());
    let mut rest = tail;
    while let Some(start) = rest.find('$') {
        let at = rest.get(start..)?;
        if at.starts_with("${") {
            return Some(at);
        }
        rest = at.get(if at.starts_with("$$") { 2 } else { 1 }..)?;
    }
    None
}

/// A text in which nothing acts: [`parse`] gives back `text`. What stands in the braces of `$${…}` is text as it is, so only
/// what begins it is escaped.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        let end = if from.starts_with("${") { from.find('}').map_or(1, |brace| brace + 1) } else { 1 };
        let (literal, after) = from.split_at(end);
        escaped.extend([before, "$", literal]);
        rest = after;
    }
    escaped.push_str(rest);
    escaped
}

/// Splits a reference into its names.
#[must_use]
pub fn path(reference: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut chars = reference.chars();
    while let Some(c) = chars.next() {
        let next = match c {
            '.' => {
                names.push(String::new());
                continue;
            }
            '\\' => match chars.clone().next() {
                Some('.') => {
                    chars.next();
                    '.'
                }
                _ => '\\',
            },
            other => other,
        };
        if let Some(name) = names.last_mut() {
            name.push(next);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn show(text: &str) -> String {
        parse(text)
            .iter()
            .map(|segment| match segment {
                Segment::Text(text) => text.to_string(),
                Segment::Reference(reference) => format!("<{reference}>"),
            })
            .collect()
    }

    #[test]
    fn follows_the_table_of_the_score_tools() {
        for (text, shown) in [
            ("", ""),
            ("abc", "abc"),
            ("$abc", "$abc"),
            ("abc $$ abc", "abc $ abc"),
            ("$${abc}", "${abc}"),
            ("$$${abc}", "$<abc>"),
            ("$$$${abc}", "$${abc}"),
            ("$$$$${abc}", "$$<abc>"),
            ("$${abc .4t3298y *(^&(*}", "${abc .4t3298y *(^&(*}"),
            ("my name is ${metadata.name}", "my name is <metadata.name>"),
            ("${a}${b}", "<a><b>"),
            ("${}", "<>"),
            ("${unclosed", "${unclosed"),
            ("$$${unclosed", "$${unclosed"),
            ("${a${b}}", "<a${b>}"),
            ("$${$$}", "${$$}"),
            ("$${$}", "${$}"),
            ("postgres://$(X)", "postgres://$(X)"),
        ] {
            assert_eq!(show(text), shown, "{text}");
        }
        assert_eq!(path(r"metadata.annotations.key\.com/foo"), ["metadata", "annotations", "key.com/foo"]);
        assert_eq!(path(r"a\b.c"), [r"a\b", "c"]);
    }

    #[test]
    fn tells_references_that_never_end() {
        for (text, rest) in [
            ("${a", Some("${a")),
            ("x ${a} ${b", Some("${b")),
            ("$${a", None),
            ("$$${a", Some("${a")),
            ("${a}", None),
            ("$a $(b) {", None),
            ("${a ${b}", None),
            ("", None),
        ] {
            assert_eq!(unclosed(text), rest, "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(text in prop_oneof![".{0,60}", "[${}a]{0,20}"]) {
            prop_assert_eq!(show(&escape(&text)), text);
        }

        #[test]
        fn an_escaped_reference_stays(inner in "[^}$]{0,20}") {
            let text = format!("$${{{inner}}}");
            prop_assert_eq!(parse(&text), vec![Segment::Text(Cow::Owned(format!("${{{inner}}}")))]);
        }

        #[test]
        fn never_panics(text in "[$\\{\\}\\\\a.]{0,40}") {
            for segment in parse(&text) {
                if let Segment::Reference(reference) = segment {
                    prop_assert!(!path(reference).is_empty());
                }
            }
        }
    }
}
