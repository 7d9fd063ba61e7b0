//! What people read: problems with their lines, plans, tables.

use std::{
    collections::HashMap,
    fmt::{self, Write as _},
    io::Write as _,
};

use anstyle::{AnsiColor, Style};
use comfy_table::{Table, presets};
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report, Severity as Level};
use serde::Serialize;
use serde_json::Value;
use windlass_document::{Problem, Problems};
use windlass_model::{
    Diagnostic, Severity,
    identity::shown,
    plan::{Change, DestroyReason, Plan, PlannedAction},
    platform::OnRemove,
    sealed,
};

use crate::{
    arguments::{Color, Format},
    exit::Failure,
};

const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const RED: Style = AnsiColor::Red.on_default();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// How a line of progress begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mark {
    Done,
    Wait,
    Gone,
    Failed,
}

/// Sets colours for both streams.
pub(crate) fn setup(color: Color) {
    match color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
}

/// Prints an error and its remedy.
pub(crate) fn error(message: &str, hint: Option<&str>) {
    let help = hint.map(|hint| format!("  {DIM}help{DIM:#}: {hint}\n")).unwrap_or_default();
    to_people(&format!("{RED}error{RED:#}: {message}\n{help}"));
}

/// Prints a line of progress.
pub(crate) fn progress(mark: Mark, word: &str, text: &str) {
    progress_of(mark, word, std::iter::once(text));
}

/// Prints lines of progress about what happened together.
pub(crate) fn progress_of(mark: Mark, word: &str, texts: impl Iterator<Item = impl fmt::Display>) {
    let (style, sign) = match mark {
        Mark::Done => (GREEN, "✓"),
        Mark::Wait => (YELLOW, "•"),
        Mark::Gone => (RED, "-"),
        Mark::Failed => (RED, "!"),
    };
    to_people(&texts.map(|text| format!("  {style}{sign}{style:#} {word:<9} {text}\n")).collect::<String>());
}

/// Writes to people in one piece: standard error has no buffer, and a deployment of thousands has as many lines. One to whom nobody
/// listens any more goes on.
fn to_people(text: &str) {
    let mut out = anstream::stderr().lock();
    let plain;
    let text = if out.current_choice() == anstream::ColorChoice::Never {
        plain = anstream::adapter::strip_str(text).to_string();
        &plain
    } else {
        text
    };
    let _ = out.write_all(text.as_bytes());
}

/// Prints a note to people.
pub(crate) fn note(text: &str) {
    to_people(&format!("{text}\n"));
}

/// Prints problems of documents with their lines.
pub(crate) fn problems(problems: &Problems) {
    let colored = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    to_people(&rendered_problems(problems, colored));
}

/// Writes problems of documents with their lines.
pub(crate) fn rendered_problems(problems: &Problems, colored: bool) -> String {
    let theme = if colored { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(100).with_links(false);
    let mut out = String::new();
    for problem in &problems.0 {
        let _ = handler.render_report(&mut out, report(problem).as_ref());
        out.push('\n');
    }
    let errors = problems.0.iter().filter(|problem| problem.severity == Severity::Error).count();
    let _ = writeln!(out, "{errors} error{}", if errors == 1 { "" } else { "s" });
    out
}

fn report(problem: &Problem) -> Report {
    let mut diagnostic = MietteDiagnostic::new(problem.message.clone()).with_severity(match problem.severity {
        Severity::Error => Level::Error,
        Severity::Warning => Level::Warning,
        Severity::Info => Level::Advice,
    });
    if let Some(hint) = &problem.hint {
        diagnostic = diagnostic.with_help(hint.clone());
    }
    match problem.span {
        Some(span) if !problem.source.text.is_empty() => {
            let length = span.length.max(1).min(problem.source.text.len().saturating_sub(span.offset));
            let label = LabeledSpan::new_with_span(Some("here".to_owned()), (span.offset.min(problem.source.text.len()), length));
            Report::new(diagnostic.with_label(label))
                .with_source_code(NamedSource::new(problem.source.path.clone(), problem.source.text.clone()))
        }
        _ => Report::new(MietteDiagnostic { message: format!("{}: {}", problem.source.path, problem.message), ..diagnostic }),
    }
}

/// Of findings that differ in whom they concern alone, so many are named.
const ALIKE_MAX: usize = 5;

/// Prints findings of planning; places were looked up by the caller. What is true of many is said once.
pub(crate) fn diagnostics(found: &[(Diagnostic, Option<String>)]) {
    let mut groups: Vec<Vec<&(Diagnostic, Option<String>)>> = Vec::new();
    let mut known = HashMap::new();
    for finding in found {
        let (diagnostic, _) = finding;
        let alike = (diagnostic.severity, &diagnostic.message, &diagnostic.pointer, &diagnostic.hint);
        let group = *known.entry(alike).or_insert(groups.len());
        match groups.get_mut(group) {
            Some(group) => group.push(finding),
            None => groups.push(vec![finding]),
        }
    }
    let mut text = String::new();
    for group in &groups {
        let Some(((diagnostic, place), others)) = group.split_first() else { continue };
        let (style, word) = match diagnostic.severity {
            Severity::Error => (RED, "error"),
            Severity::Warning => (YELLOW, "warning"),
            Severity::Info => (DIM, "info"),
        };
        let place = place.as_ref().map(|place| format!("{BOLD}{place}{BOLD:#}: ")).unwrap_or_default();
        text.push_str(&format!("{style}{word}{style:#}: {place}{diagnostic}\n"));
        if let Some(hint) = &diagnostic.hint {
            text.push_str(&format!("  {DIM}help{DIM:#}: {hint}\n"));
        }
        for (other, place) in others.iter().take(ALIKE_MAX) {
            let place = place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
            text.push_str(&format!("  {DIM}also{DIM:#}: {place}{}\n", other.subject));
        }
        if others.len() > ALIKE_MAX {
            text.push_str(&format!("  {DIM}and {} more{DIM:#}\n", others.len() - ALIKE_MAX));
        }
    }
    to_people(&text);
}

/// Writes a value as JSON or YAML; text is the caller's.
pub(crate) fn structured<T: Serialize>(format: Format, value: &T) -> Result<(), Failure> {
    let text = match format {
        Format::Json | Format::Text => serde_json::to_string_pretty(value).map_err(Failure::failed)? + "\n",
        Format::Yaml => serde_saphyr::to_string(&serde_json::to_value(value).map_err(Failure::failed)?).map_err(Failure::failed)?,
    };
    out(&text)
}

/// Writes bytes for machines as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    written(std::io::stdout().lock().write_all(bytes))
}

/// Writes to standard output.
pub(crate) fn out(text: &str) -> Result<(), Failure> {
    written(anstream::stdout().write_all(text.as_bytes()))
}

/// A closed pipe is no failure.
fn written(result: std::io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Writes a table.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header.iter().map(|name| name.to_uppercase()));
    for row in rows {
        table.add_row(row);
    }
    let text: String = table.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    out(&text)
}

/// Writes a plan for people.
pub(crate) fn plan(plan: &Plan) -> Result<String, Failure> {
    let mut out = String::new();
    let digest = plan.digest().map_err(Failure::failed)?;
    let _ =
        writeln!(out, "{BOLD}Plan {} for {}/{}{BOLD:#} ({})", digest.short(), plan.application, plan.environment, plan.environment_type);
    if let Some(before) = plan.follows {
        let _ = writeln!(out, "{DIM}a later stage: behind plan {}{DIM:#}", before.short());
    }
    for known in &plan.values {
        let _ = writeln!(out, "{DIM}{} {} is {}{DIM:#}", known.action, known.output, shorten(&known.value.to_string()));
    }
    for node in plan.nodes() {
        let changed: Vec<&PlannedAction> = node.actions.iter().filter(|action| action.change.is_change()).collect();
        if changed.is_empty() {
            continue;
        }
        let by = node
            .definition
            .as_ref()
            .map(|definition| format!(" by {} ({})", definition.name, definition.layer.label()))
            .unwrap_or_default();
        let _ = writeln!(out, "\n{BOLD}{}{BOLD:#}{DIM}{by}{DIM:#}", node.key);
        for action in changed {
            let (style, sign) = sign(&action.change);
            let _ =
                writeln!(out, "  {style}{sign} {:<8}{style:#} {}{}", action.change.word(), shown(&action.identity), why(&action.change));
            for field in &action.fields {
                let show = |value: &Option<Value>| {
                    value.as_ref().map_or_else(|| "nothing".to_owned(), |value| shorten(&sealed::displayed(value).to_string()))
                };
                let _ = writeln!(out, "      {DIM}{}{DIM:#}: {} → {}", field.pointer, show(&field.from), show(&field.to));
            }
        }
    }
    later(&mut out, plan);
    let late: Vec<_> = plan.destroys.iter().filter(|destroy| destroy.why != DestroyReason::Replaced).collect();
    if !late.is_empty() {
        let _ = writeln!(out, "\n{BOLD}Taken away{BOLD:#}");
        for destroy in late {
            let word = match destroy.act {
                OnRemove::Delete => "delete",
                OnRemove::Retain => "retain",
            };
            let mut notes = Vec::new();
            if destroy.holds_data {
                notes.push("holds data");
            }
            if destroy.guarded {
                notes.push("needs --allow-destroy");
            }
            let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
            let _ = writeln!(out, "  {RED}- {word:<8}{RED:#} {}{RED}{notes}{RED:#}", shown(&destroy.identity));
        }
    }
    let flows: Vec<_> =
        plan.secret_flows.iter().filter(|flow| plan.action(&flow.to).is_some_and(|action| action.change.is_change())).collect();
    if !flows.is_empty() {
        let _ = writeln!(out, "\n{BOLD}Secrets{BOLD:#}");
        for flow in flows {
            let to = plan.action(&flow.to).map(|action| shown(&action.identity)).unwrap_or_default();
            let _ = writeln!(out, "  {} → {to} {DIM}{}{DIM:#}", flow.from, flow.pointer);
        }
    }
    // Where everything goes, no image comes.
    for (container, image) in plan.images.iter().filter(|_| plan.nodes().next().is_some()) {
        let _ = writeln!(out, "\n{DIM}image of {container} as last deployed: {image}{DIM:#}");
    }
    let counts: Vec<String> = plan
        .counts()
        .into_iter()
        .filter(|(word, _)| *word != "none")
        .map(|(word, count)| if word == "pending" { format!("{count} pending") } else { format!("{count} to {word}") })
        .collect();
    let same = plan.counts().get("none").copied().unwrap_or(0);
    let _ = writeln!(
        out,
        "\n{}{}",
        if counts.is_empty() { "No changes".to_owned() } else { counts.join(", ") },
        if same > 0 { format!(", {same} unchanged.") } else { ".".to_owned() }
    );
    Ok(out)
}

/// Writes what a later plan decides.
fn later(out: &mut String, plan: &Plan) {
    if plan.staged().next().is_none() {
        return;
    }
    let _ = writeln!(out, "\n{BOLD}Planned when the above is ready{BOLD:#}");
    for node in plan.later() {
        let needs = plan.staged().find(|staged| staged.key == node.key).map(|staged| staged.needs.as_slice()).unwrap_or_default();
        let after: Vec<String> = needs.iter().map(|need| format!("«{}» at {}", need.of.label(), need.pointer)).collect();
        let what = match (after.is_empty(), node.actions.len()) {
            (false, _) => format!("needs {}", after.join(", ")),
            (true, 1) => "1 action".to_owned(),
            (true, count) => format!("{count} actions"),
        };
        let _ = writeln!(out, "  {YELLOW}?{YELLOW:#} {} {DIM}{what}{DIM:#}", node.key);
    }
}

fn sign(change: &Change) -> (Style, char) {
    match change {
        Change::Create => (GREEN, '+'),
        Change::Update => (YELLOW, '~'),
        Change::Replace { .. } => (RED, '±'),
        Change::Delete => (RED, '-'),
        Change::None => (DIM, ' '),
        Change::Pending { .. } => (YELLOW, '?'),
    }
}

fn why(change: &Change) -> String {
    match change {
        Change::Replace { why } => format!(": {why}"),
        Change::Pending { on } => format!(" only if {} changes", on.iter().map(|on| format!("«{on}»")).collect::<Vec<_>>().join(", ")),
        Change::Create | Change::Update | Change::Delete | Change::None => String::new(),
    }
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= 80 { text.to_owned() } else { text.chars().take(79).chain(['…']).collect() }
}
