//! Text of other people made visible: characters that act on a terminal, hide, or turn the direction of reading become escapes.
//!
//! This module knows nothing of terminals or styles; it only says which characters are never written as they are.

use std::{borrow::Cow, fmt::Write as _};

/// Returns whether a character acts on what displays it instead of being displayed.
///
/// These are the control characters (C0, DEL, C1), the marks that change the direction of reading, the separators of lines and
/// paragraphs, the characters without width that hide differences between names, interlinear and tag characters, and noncharacters.
#[must_use]
pub const fn is_hidden(c: char) -> bool {
    matches!(c,
        '\0'..='\u{1F}' | '\u{7F}'..='\u{9F}'
        | '\u{AD}' | '\u{61C}' | '\u{180E}'
        | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{FEFF}' | '\u{FFF0}'..='\u{FFFB}' | '\u{FDD0}'..='\u{FDEF}' | '\u{E0000}'..='\u{E007F}'
    ) || (c as u32) & 0xFFFE == 0xFFFE
}

/// Returns one line of text in which every hidden character is an escape such as `\n` or `\u{1b}`.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    // Most text is plain ASCII, which needs no look at its characters.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) || !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        push_escaped(&mut out, c);
    }
    Cow::Owned(out)
}

/// Appends a character, as an escape where it is hidden.
fn push_escaped(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if is_hidden(c) => {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
        c => out.push(c),
    }
}

/// Returns JSON text in which every hidden character is a JSON escape, so that it stays the same JSON.
///
/// `text` is valid JSON: hidden characters other than white space between tokens stand inside of strings only.
#[must_use]
pub fn escaped_json(text: &str) -> Cow<'_, str> {
    let acts = |c: char| is_hidden(c) && !matches!(c, '\n' | '\r' | '\t');
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_control_and_direction_character_becomes_an_escape() {
        let hidden = (0..=0x1F).chain(0x7F..=0x9F).chain([0x61C, 0x200E, 0x200F]).chain(0x202A..=0x202E).chain(0x2066..=0x2069);
        for c in hidden.filter_map(char::from_u32) {
            let shown = escaped(&format!("a{c}b")).into_owned();
            assert!(shown.starts_with("a\\") && shown.ends_with('b') && !shown.contains(c), "{c:?}: {shown}");
        }
    }

    #[test]
    fn ordinary_text_of_any_script_stays() {
        let text = "déjà vu, 漢字, עברית, emoji 👩‍👩‍👧, `a` → «b»";
        assert!(matches!(escaped(text), Cow::Borrowed(same) if same == text));
    }

    #[test]
    fn escaped_json_is_the_same_json() {
        let value = serde_json::json!({ "a\u{202E}b": ["\u{9b}31m", "\u{E0041}", "\u{7f}"] });
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = escaped_json(&text);
        assert!(!shown.contains(|c| is_hidden(c) && c != '\n'), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
