//! What a run says to people. A program's messages can hold any value that its module took; where one of them is a secret, only names
//! that stand in the module's own files are told.

use serde_json::Value;

use crate::transcript::Ran;

/// Characters of what a program said without saying it in JSON.
const TEXT_CHARS_MAX: usize = 4_000;
/// Errors that are told; a module of thousands of resources can fail in each.
const ERRORS_MAX: usize = 50;

/// Cuts the keys of instances out of an address: they are values.
pub(crate) fn without_keys(address: &str) -> String {
    let (mut out, mut depth, mut is_quoted, mut is_escaped) = (String::new(), 0_usize, false, false);
    for char in address.chars() {
        match char {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' if depth > 0 => is_quoted = !is_quoted,
            '[' if !is_quoted => depth += 1,
            ']' if !is_quoted && depth > 0 => depth -= 1,
            char if depth == 0 => out.push(char),
            _ => {}
        }
    }
    out
}

/// Returns an address as it may be told.
pub(crate) fn address(address: &str, is_open: bool) -> String {
    if is_open { address.to_owned() } else { without_keys(address) }
}

fn text<'l>(line: &'l Value, pointer: &str) -> &'l str {
    line.pointer(pointer).and_then(Value::as_str).unwrap_or_default().trim()
}

/// Describes the progress of a resource.
pub(crate) fn progress(line: &Value, is_open: bool) -> Option<String> {
    if is_open {
        return line.get("@message").and_then(Value::as_str).map(str::to_owned);
    }
    let action = text(line, "/hook/action");
    let (doing, done) = match action {
        "create" => ("Creating", "Creation"),
        "update" => ("Modifying", "Modifications"),
        "delete" => ("Destroying", "Destruction"),
        _ => ("Working", "Work"),
    };
    let said = match text(line, "/type") {
        "apply_start" => format!("{doing}..."),
        "apply_complete" => format!("{done} complete"),
        "apply_errored" => format!("{done} errored"),
        "apply_progress" => format!("Still {}...", doing.to_lowercase()),
        _ => return None,
    };
    let after = line.pointer("/hook/elapsed_seconds").and_then(Value::as_f64).map(|seconds| format!(" after {seconds}s"));
    Some(format!("{}: {said}{}", without_keys(text(line, "/hook/resource/addr")), after.unwrap_or_default()))
}

/// Describes what would be done to a resource, or to all of them together.
pub(crate) fn planned(line: &Value, is_open: bool) -> Option<String> {
    let kind = text(line, "/type");
    if !matches!(kind, "planned_change" | "change_summary") {
        return None;
    }
    if is_open || kind == "change_summary" {
        return line.get("@message").and_then(Value::as_str).map(str::to_owned);
    }
    Some(format!("{}: Plan to {}", without_keys(text(line, "/change/resource/addr")), text(line, "/change/action")))
}

/// Describes what went wrong: as the program says it, or where it did.
pub(crate) fn errors(ran: &Ran, is_open: bool) -> String {
    let errors = ran.lines.iter().filter(|line| text(line, "/diagnostic/severity") == "error");
    let mut told: Vec<String> = errors.clone().take(ERRORS_MAX).map(|line| if is_open { error(line) } else { place(line) }).collect();
    let more = errors.count().saturating_sub(ERRORS_MAX);
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    match (told.is_empty(), is_open) {
        (true, true) => ran.text.trim().chars().take(TEXT_CHARS_MAX).collect(),
        (true, false) => format!("the program ended with code {}; its text is {HIDDEN}", ran.code),
        (false, true) => told.join("\n"),
        (false, false) => format!("{}; the text of the errors is {HIDDEN}", told.join(", ")),
    }
}

const HIDDEN: &str = "not shown, because the module took secrets: `allow: [declassify]` of the grant shows it";

fn error(line: &Value) -> String {
    let (summary, detail, at) = (text(line, "/diagnostic/summary"), text(line, "/diagnostic/detail"), text(line, "/diagnostic/address"));
    let at = if at.is_empty() { String::new() } else { format!("{at}: ") };
    if detail.is_empty() { format!("{at}{summary}") } else { format!("{at}{summary}: {detail}") }
}

/// Names where an error stands: a resource, and a line of the module.
fn place(line: &Value) -> String {
    let (at, file) = (without_keys(text(line, "/diagnostic/address")), text(line, "/diagnostic/range/filename"));
    let number = line.pointer("/diagnostic/range/start/line").and_then(Value::as_u64);
    let file = number.map(|number| format!("{file}:{number}")).unwrap_or_default();
    match (at.is_empty(), file.is_empty()) {
        (true, true) => "an error without a place".to_owned(),
        (true, false) => format!("an error at {file}"),
        (false, true) => format!("an error of {at}"),
        (false, false) => format!("an error of {at} at {file}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_of_instances_are_values() {
        for (address, expected) in [
            ("aws_x.y", "aws_x.y"),
            ("aws_x.y[0]", "aws_x.y"),
            ("module.a[\"b\"].aws_x.y[\"c\"]", "module.a.aws_x.y"),
            ("aws_x.y[\"hun\\\"]ter\"]", "aws_x.y"),
            ("aws_x.y[\"hun[ter\"].z", "aws_x.y.z"),
            ("aws_x.y[\"hunter", "aws_x.y"),
        ] {
            assert_eq!(without_keys(address), expected, "{address}");
        }
    }

    #[test]
    fn messages_of_a_module_that_took_secrets_name_places_alone() {
        let diagnostic = json!({
            "type": "diagnostic", "@message": "Error: hunter2",
            "diagnostic": { "severity": "error", "summary": "hunter2", "detail": "hunter2", "address": "a.b[\"hunter2\"]",
                "range": { "filename": "main.tf", "start": { "line": 3 } }, "snippet": { "code": "hunter2" } },
        });
        let ran = Ran { code: 1, lines: vec![diagnostic], text: "hunter2".into(), is_cut: false };
        let said = errors(&ran, false);
        assert!(said.starts_with("an error of a.b at main.tf:3; ") && !said.contains("hunter2"), "{said}");
        assert_eq!(errors(&ran, true), "a.b[\"hunter2\"]: hunter2: hunter2");
        let silent = Ran { code: 1, text: "panic: hunter2".into(), ..Ran::default() };
        assert!(!errors(&silent, false).contains("hunter2") && errors(&silent, true).contains("hunter2"));
        let line = json!({
            "type": "apply_complete", "@message": "a.b: Creation complete [id=hunter2]",
            "hook": { "resource": { "addr": "a.b[\"hunter2\"]" }, "action": "create", "id_value": "hunter2", "elapsed_seconds": 2 },
        });
        assert_eq!(progress(&line, false).as_deref(), Some("a.b: Creation complete after 2s"));
        let line = json!({ "type": "planned_change", "@message": "hunter2", "change": { "resource": { "addr": "a.b[\"hunter2\"]" }, "action": "update" } });
        assert_eq!(planned(&line, false).as_deref(), Some("a.b: Plan to update"));
    }

    #[test]
    fn only_so_many_errors_are_told() {
        let line = json!({ "diagnostic": { "severity": "error", "summary": "x" } });
        let ran = |count| Ran { code: 1, lines: vec![line.clone(); count], ..Ran::default() };
        assert_eq!(errors(&ran(ERRORS_MAX), true).lines().count(), ERRORS_MAX);
        assert!(errors(&ran(ERRORS_MAX + 1), true).ends_with("and 1 more"));
    }
}
