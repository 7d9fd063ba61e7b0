//! Tokens: what sealed values are inside one driver call.
//!
//! A token is `U+FDD0 kind encoding index U+FDD1`. It means something in this call only; equal inputs
//! give equal bytes, and a token tells nothing about its value.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose};
use serde_json::{Map, Value};
use windlass_model::{
    limits,
    pointer::Pointer,
    sealed::{self, Encoding, Part, Sealed, SharedPart, TOKEN_CLOSE, TOKEN_OPEN},
};

use crate::budget::{CallBudget, Cost, LimitReached};

/// Levels of plan JSON that each derivation of a sealed value takes.
const LEVELS_OF_A_DERIVATION: usize = 5;

/// The tokens that were handed out in one call.
#[derive(Clone, Debug, Default)]
pub struct TokenTable {
    parts: Vec<SharedPart>,
    indices: BTreeMap<SharedPart, usize>,
}

/// Why a text of a driver is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// A marker without its other half.
    #[error("holds a piece of a sealed token; tokens may be concatenated and passed on, never cut")]
    Cut,
    /// An index that was never handed out, or with another kind or encoding.
    #[error("holds a sealed token that was not handed out in this call")]
    Unknown,
    /// A token in another alphabet.
    #[error("holds a re-encoded sealed token ({0}); use the functions of `windlass:driver/sealed`")]
    Reencoded(&'static str),
    /// A sealed value that is too large, or too many of them.
    #[error("{0}")]
    Limit(#[from] LimitReached),
}

impl TokenTable {
    /// Returns the token of a part; equal parts share one.
    pub fn token(&mut self, part: &SharedPart) -> String {
        let index = match self.indices.get(part) {
            Some(index) => *index,
            None => {
                let index = self.parts.len();
                self.parts.push(part.clone());
                self.indices.insert(part.clone(), index);
                index
            }
        };
        let kind = if part.secret { 's' } else { 'd' };
        let encoding = match part.encoding {
            Encoding::Text => 't',
            Encoding::Json => 'j',
        };
        format!("{TOKEN_OPEN}{kind}{encoding}{index}{TOKEN_CLOSE}")
    }

    /// Returns the origins by index: part of the request's digest.
    #[must_use]
    pub fn parts(&self) -> &[SharedPart] {
        &self.parts
    }

    /// Turns a sealed string into text with tokens.
    pub fn text(&mut self, value: &Sealed) -> String {
        value
            .parts()
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Sealed(part) => self.token(part),
            })
            .collect()
    }

    /// Turns plan JSON into what a driver sees, in canonical key order.
    pub fn open(&mut self, value: &Value) -> Value {
        if let Some(sealed) = Sealed::from_json(value) {
            return Value::String(self.text(&sealed));
        }
        match value {
            Value::Array(items) => Value::Array(items.iter().map(|item| self.open(item)).collect()),
            Value::Object(fields) => {
                Value::Object(fields.iter().map(|(key, item)| (sealed::unescape_key(key), self.open(item))).collect::<Map<_, _>>())
            }
            other => other.clone(),
        }
    }

    /// Turns what a driver wrote into plan JSON, in place; every refused string is named by its place. The budget pays for each sealed
    /// value before it is written out.
    ///
    /// # Errors
    ///
    /// The refused strings; nothing behind a limit that was passed.
    pub fn close(&self, mut value: Value, budget: &mut CallBudget) -> Result<Value, Vec<(String, TokenError)>> {
        let mut errors = Vec::new();
        self.close_at(&mut value, &Pointer::Root, 0, budget, &mut errors);
        if errors.is_empty() { Ok(value) } else { Err(errors) }
    }

    fn close_at(&self, value: &mut Value, at: &Pointer<'_>, depth: usize, budget: &mut CallBudget, errors: &mut Vec<(String, TokenError)>) {
        if matches!(errors.last(), Some((_, TokenError::Limit(_)))) {
            return;
        }
        match value {
            Value::String(text) => match self.write_out(text, depth, budget) {
                Ok(None) => {}
                Ok(Some(sealed)) => *value = sealed,
                Err(error) => errors.push((at.to_string(), error)),
            },
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.close_at(item, &at.element(index), depth + 1, budget, errors);
                }
            }
            Value::Object(fields) => {
                let mut is_escaped = false;
                for (key, item) in fields.iter_mut() {
                    let at = &at.field(key);
                    if let Err(error) = refuse(key) {
                        errors.push((at.to_string(), error));
                    }
                    is_escaped |= sealed::needs_escape(key);
                    self.close_at(item, at, depth + 1, budget, errors);
                }
                if is_escaped {
                    *fields = std::mem::take(fields).into_iter().map(|(key, item)| (sealed::escape_key(&key), item)).collect();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Writes one text as plan JSON, `depth` levels inside its value; none if it holds no token.
    fn write_out(&self, text: &str, depth: usize, budget: &mut CallBudget) -> Result<Option<Value>, TokenError> {
        let Some(sealed) = self.close_text(text)? else { return Ok(None) };
        let size = sealed.size();
        size.check().map_err(LimitReached::from)?;
        if depth + size.depth * LEVELS_OF_A_DERIVATION > limits::PLAN_VALUE_DEPTH_MAX {
            return Err(LimitReached::new("levels of plan JSON", limits::PLAN_VALUE_DEPTH_MAX).into());
        }
        budget.spend(Cost::SealedBytes, size.plan_bytes)?;
        Ok(Some(sealed.to_json()))
    }

    /// Reads one text; none if it holds no token.
    pub fn close_text(&self, text: &str) -> Result<Option<Sealed>, TokenError> {
        if !may_hold_token(text) {
            return Ok(None);
        }
        if !text.contains([TOKEN_OPEN, TOKEN_CLOSE]) {
            if !self.parts.is_empty() {
                refuse_reencoded(text)?;
            }
            return Ok(None);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, tail)) = rest.split_once(TOKEN_OPEN) {
            let (inner, after) = tail.split_once(TOKEN_CLOSE).ok_or(TokenError::Cut)?;
            if before.contains(TOKEN_CLOSE) {
                return Err(TokenError::Cut);
            }
            refuse_reencoded(before)?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Sealed(self.lookup(inner)?));
            rest = after;
        }
        if rest.contains(TOKEN_CLOSE) {
            return Err(TokenError::Cut);
        }
        refuse_reencoded(rest)?;
        parts.push(Part::Text(rest.to_owned()));
        Ok(Some(Sealed::new(parts)))
    }

    fn lookup(&self, inner: &str) -> Result<SharedPart, TokenError> {
        let mut chars = inner.chars();
        let (kind, encoding) = (chars.next(), chars.next());
        let digits = chars.as_str();
        if digits.is_empty()
            || digits.len() > 9
            || !digits.bytes().all(|b| b.is_ascii_digit())
            || (digits.len() > 1 && digits.starts_with('0'))
        {
            return Err(if inner.contains(TOKEN_OPEN) { TokenError::Cut } else { TokenError::Unknown });
        }
        let part = digits.parse().ok().and_then(|index: usize| self.parts.get(index)).ok_or(TokenError::Unknown)?;
        let wanted = (
            if part.secret { 's' } else { 'd' },
            match part.encoding {
                Encoding::Text => 't',
                Encoding::Json => 'j',
            },
        );
        if (kind, encoding) == (Some(wanted.0), Some(wanted.1)) { Ok(part.clone()) } else { Err(TokenError::Unknown) }
    }
}

/// Refuses any token in text that must be open: names, diagnostics, keys.
pub fn refuse(text: &str) -> Result<(), TokenError> {
    if !may_hold_token(text) {
        return Ok(());
    }
    if text.contains([TOKEN_OPEN, TOKEN_CLOSE]) {
        return Err(TokenError::Cut);
    }
    refuse_reencoded(text)
}

/// Tells whether a text may hold a token or traces of one: every string of every answer passes here, and nearly all hold none.
fn may_hold_token(text: &str) -> bool {
    // What each way of writing a marker must begin with: UTF-8, escapes, hexadecimal digits, the four forms in base64.
    let is_trace = |three: &[u8]| {
        matches!(
            three,
            [0xEF | b'\\' | b'%', ..] | [b'7', b'9', b'0'] | [b'7', b'7', b'e'] | [b'+' | b'-', b'3', b'k'] | [b'v', b't', b'5']
        )
    };
    text.as_bytes().windows(3).any(is_trace)
}

/// Refuses markers in the alphabets that people re-encode with: JSON escapes, percent, hexadecimal, base64.
fn refuse_reencoded(text: &str) -> Result<(), TokenError> {
    if text.len() < REENCODED_BYTES_MIN {
        return Ok(());
    }
    let has = |needle: &str| text.as_bytes().windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle.as_bytes()));
    if text.contains('\\') && (has("\\ufdd0") || has("\\ufdd1") || has("\\u{fdd0")) {
        return Err(TokenError::Reencoded("JSON escape"));
    }
    if text.contains('%') && (has("%ef%b7%90") || has("%ef%b7%91")) {
        return Err(TokenError::Reencoded("percent encoding"));
    }
    // The digits have no case: a search for them alone is fast.
    if text.contains("790") && text.contains("791") && has("efb790") && has("efb791") {
        return Err(TokenError::Reencoded("hexadecimal"));
    }
    if BASE64_TRACES.iter().any(|trace| text.contains(trace)) && holds_base64_token(text) {
        return Err(TokenError::Reencoded("base64"));
    }
    Ok(())
}

/// A token has nine bytes at least; in the densest of these alphabets, base64, that is twelve.
const REENCODED_BYTES_MIN: usize = 12;

/// What the three bytes of `U+FDD0` leave in base64, by their place in a group of three, in both alphabets.
const BASE64_TRACES: [&str; 4] = ["77eQ", "+3k", "-3k", "vt5"];

/// Decodes what looks like base64 at each of the four places where a group may begin.
fn holds_base64_token(text: &str) -> bool {
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_');
    text.split(|c| !is_base64(c)).filter(|run| run.len() >= 8).any(|run| {
        let standard = run.replace('-', "+").replace('_', "/");
        (0..4.min(standard.len())).any(|shift| {
            let tail = standard.get(shift..).unwrap_or_default();
            let whole = tail.get(..tail.len() / 4 * 4).unwrap_or_default();
            let decoded = general_purpose::STANDARD_NO_PAD.decode(whole).unwrap_or_default();
            decoded.windows(3).any(|bytes| bytes == [0xEF, 0xB7, 0x90])
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass_model::sealed::SealedPart;

    use super::*;

    fn secret(name: &str) -> SealedPart {
        SealedPart {
            origin: sealed::Origin::External { connection: "secrets".into(), reference: name.into(), version: Some(1) },
            secret: true,
            encoding: Encoding::Json,
        }
    }

    #[test]
    fn equal_values_share_a_token_and_round_trip() {
        let mut table = TokenTable::default();
        let value = json!({"b": Sealed::new([Part::Text("x:".into()), secret("k").into()]).to_json(), "a": Sealed::new([secret("k").into()]).to_json(), "$$sealed": 1});
        let open = table.open(&value);
        assert_eq!(open, json!({"a": "\u{FDD0}sj0\u{FDD1}", "b": "x:\u{FDD0}sj0\u{FDD1}", "$sealed": 1}));
        assert_eq!(table.close(open, &mut CallBudget::default()).unwrap(), value);
    }

    #[test]
    fn refuses_cut_forged_and_reencoded_tokens() {
        let mut table = TokenTable::default();
        let token = table.token(&SharedPart::new(secret("k")));
        let refused = |text: &str| table.close_text(text).unwrap_err();
        assert_eq!(refused("\u{FDD0}sj"), TokenError::Cut);
        assert_eq!(refused("sj0\u{FDD1}"), TokenError::Cut);
        assert_eq!(refused("\u{FDD0}sj1\u{FDD1}"), TokenError::Unknown);
        assert_eq!(refused("\u{FDD0}dj0\u{FDD1}"), TokenError::Unknown);
        assert_eq!(refused("\u{FDD0}st0\u{FDD1}"), TokenError::Unknown);
        assert_eq!(refused("\u{FDD0}sj00\u{FDD1}"), TokenError::Unknown);
        assert_eq!(refused(r"a \ufdd0sj0\ufdd1"), TokenError::Reencoded("JSON escape"));
        assert_eq!(refused("a=%EF%B7%90sj0%EF%B7%91"), TokenError::Reencoded("percent encoding"));
        for prefix in ["", "a", "ab", "abc"] {
            let encoded = general_purpose::STANDARD.encode(format!("{prefix}{token}"));
            assert_eq!(refused(&encoded), TokenError::Reencoded("base64"), "{prefix}");
            assert_eq!(
                refused(&general_purpose::URL_SAFE_NO_PAD.encode(format!("{prefix}{token}"))),
                TokenError::Reencoded("base64"),
                "{prefix}"
            );
        }
        for hexadecimal in ["efb790736a30efb791", "EFB790736A30EFB791"] {
            assert_eq!(refused(hexadecimal), TokenError::Reencoded("hexadecimal"));
        }
        assert!(table.close_text(&format!("{token}{token}")).unwrap().is_some());
        assert_eq!(table.close_text("c2VjcmV0IGJ1dCBub3QgYSB0b2tlbg==").unwrap(), None);
        assert_eq!(table.close(json!({"a": {(token): 1}}), &mut CallBudget::default()).unwrap_err()[0].1, TokenError::Cut);
    }
}
