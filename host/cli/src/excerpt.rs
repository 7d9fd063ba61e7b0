//! Values in comparisons as people read them: short ones whole, of long ones all that differs with a little around it.

use std::time::Duration;

use serde_json::Value;
use similar::{ChangeTag, TextDiff};
use windlass_model::sealed;

/// Length up to which a value stands in a line as it is, in characters.
const WHOLE_CHARS_MAX: usize = 80;
/// Length of what stands before and behind the part that differs, in characters.
const CONTEXT_CHARS: usize = 20;
/// After so long a comparison of lines says less exactly which of them are new.
const COMPARISON_MAX: Duration = Duration::from_secs(1);

/// Writes a value as compact JSON in which sealed values are named by their origins.
pub(crate) fn text(value: &Value) -> String {
    sealed::displayed(value).to_string()
}

/// Returns whether a value stands in one line as it is.
pub(crate) fn is_short(value: &Value) -> bool {
    text(value).chars().count() <= WHOLE_CHARS_MAX
}

/// Writes two values; of long ones the part that they have in common is left out.
pub(crate) fn pair(from: &Value, to: &Value) -> (String, String) {
    let (from, to) = (sealed::displayed(from), sealed::displayed(to));
    let (whole_from, whole_to) = (from.to_string(), to.to_string());
    let is_short = |text: &str| text.chars().count() <= WHOLE_CHARS_MAX;
    if whole_from == whole_to || (is_short(&whole_from) && is_short(&whole_to)) {
        return (whole_from, whole_to);
    }
    match (&from, &to) {
        (Value::String(from), Value::String(to)) => {
            let (from, to) = differing(from, to);
            (Value::String(from).to_string(), Value::String(to).to_string())
        }
        _ => differing(&whole_from, &whole_to),
    }
}

/// Compares texts of several lines; none if each stands in one line as it is. An absent text has no lines.
pub(crate) fn lines(from: Option<&Value>, to: Option<&Value>) -> Option<Vec<(char, String)>> {
    let mut is_long = false;
    let mut of = |value: Option<&Value>| match value.map(sealed::displayed) {
        None => Some(String::new()),
        Some(Value::String(text)) => {
            is_long |= text.trim_end_matches('\n').contains('\n') && text.chars().count() > WHOLE_CHARS_MAX;
            Some(text)
        }
        Some(_) => None,
    };
    let (from, to) = (of(from)?, of(to)?);
    if !is_long || from == to {
        return None;
    }
    let comparison = TextDiff::configure().timeout(COMPARISON_MAX).diff_lines(&from, &to);
    let changes = comparison.iter_all_changes().filter_map(|change| {
        let sign = match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => return None,
        };
        let line = change.value();
        Some((sign, line.strip_suffix('\n').map_or_else(|| format!("{line} (without a line end)"), str::to_owned)))
    });
    Some(changes.collect())
}

/// Leaves out what two texts begin and end with in common, but for a little around the part that differs.
fn differing(from: &str, to: &str) -> (String, String) {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let before = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let shorter = from.len().min(to.len());
    let behind = from.iter().rev().zip(to.iter().rev()).take(shorter - before).take_while(|(a, b)| a == b).count();
    let start = before_name(&from, before.saturating_sub(CONTEXT_CHARS));
    let left_out = behind_name(&from, behind, behind.saturating_sub(CONTEXT_CHARS));
    let cut = |text: &[char]| {
        let kept = text.iter().take(text.len() - left_out).skip(start);
        let dots = |left_out: usize| (left_out > 0).then_some('…');
        dots(start).into_iter().chain(kept.copied()).chain(dots(left_out)).collect()
    };
    (cut(&from), cut(&to))
}

/// Moves the beginning of an excerpt before the name of a sealed value that it stands in.
fn before_name(text: &[char], start: usize) -> usize {
    let opened = text.iter().take(start).rposition(|c| matches!(c, '«' | '»'));
    opened.filter(|at| text.get(*at) == Some(&'«')).unwrap_or(start)
}

/// Moves the end of an excerpt behind the name of a sealed value that it stands in; `left_out` counts characters from the end.
fn behind_name(text: &[char], behind: usize, left_out: usize) -> usize {
    let rest = text.iter().skip(text.len() - left_out.min(behind));
    let mut marks = rest.enumerate().filter(|(_, c)| matches!(c, '«' | '»'));
    match marks.next() {
        Some((at, '»')) => left_out - at - 1,
        _ => left_out,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pair_of(from: &str, to: &str) -> String {
        let (from, to) = pair(&json!(from), &json!(to));
        format!("{from} → {to}")
    }

    #[test]
    fn the_part_that_differs_of_long_texts_is_shown_wherever_it_stands() {
        let around = "x".repeat(100);
        for (from, to) in [("a", "b"), ("", "b"), ("a", ""), ("\"", "«")] {
            let told = pair_of(&format!("{around}{from}{around}"), &format!("{around}{to}{around}"));
            let context = "x".repeat(CONTEXT_CHARS);
            let part = |text: &str| json!(format!("…{context}{text}{context}…")).to_string();
            assert_eq!(told, format!("{} → {}", part(from), part(to)));
        }
        assert_eq!(pair_of("a", "b"), r#""a" → "b""#);
        let told = pair_of(&"x".repeat(100), &"x".repeat(101));
        assert!(told.starts_with("\"…") && told.contains("x\" → \"…"), "{told}");
    }

    #[test]
    fn what_differs_is_never_left_out() {
        let (from, to) = ("a".repeat(300), "b".repeat(300));
        assert_eq!(pair_of(&from, &to), format!("\"{from}\" → \"{to}\""));
    }

    #[test]
    fn names_of_sealed_values_stay_whole() {
        let long = "postgres.default#main-database-of-all:secret/password";
        let text = |host: &str| format!("{}«secret {long}»@{host}:«deferred {long}»{}", "x".repeat(50), "y".repeat(50));
        assert_eq!(
            pair_of(&text("a"), &text("b")),
            format!("\"…«secret {long}»@a:«deferred {long}»…\" → \"…«secret {long}»@b:«deferred {long}»…\"")
        );
    }

    #[test]
    fn texts_of_many_lines_are_compared_line_by_line() {
        let text = |port: u16| json!(format!("{}port: {port}\n{}", "same: line\n".repeat(10), "same: line\n".repeat(10)));
        let found = lines(Some(&text(80)), Some(&text(81))).unwrap();
        assert_eq!(found, [('-', "port: 80".to_owned()), ('+', "port: 81".to_owned())]);
        let long = "a".repeat(100);
        assert_eq!(lines(None, Some(&json!(format!("{long}\nb")))).unwrap(), [('+', long), ('+', "b (without a line end)".to_owned())]);
        assert_eq!(lines(Some(&json!("a\nb")), Some(&json!("c"))), None);
        assert_eq!(lines(Some(&json!({ "a": 1 })), Some(&text(80))), None);
    }
}
