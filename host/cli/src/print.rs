//! What people read: problems with their lines, plans, tables.

use std::{collections::HashMap, fmt, io::Write as _};

use comfy_table::{Table, presets};
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report, Severity as Level};
use serde::Serialize;
use windlass_document::{Problem, Problems};
use windlass_model::{
    Diagnostic, Severity,
    identity::shown,
    plan::{Change, DestroyReason, Plan, PlannedAction},
    platform::OnRemove,
    visible,
};

use crate::{
    arguments::{Color, Format},
    changes,
    exit::Failure,
    page::{self, Page, Style},
};

const GREEN: Style = Style::Green;
const YELLOW: Style = Style::Yellow;
const RED: Style = Style::Red;
const DIM: Style = Style::Dim;
const BOLD: Style = Style::Bold;

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
    let mut page = Page::default();
    page.paragraph(format_args!("{RED}error{RED:#}: {message}"));
    if let Some(hint) = hint {
        page.paragraph(help(hint));
    }
    page.tell();
}

fn help(hint: &str) -> String {
    format!("  {DIM}help{DIM:#}: {hint}")
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
    let mut page = Page::default();
    texts.for_each(|text| page.paragraph(format_args!("  {style}{sign}{style:#} {word:<9} {text}")));
    page.tell();
}

/// Prints a note to people.
pub(crate) fn note(text: &str) {
    let mut page = Page::default();
    page.paragraph(text);
    page.tell();
}

/// Prints problems of documents with their lines.
pub(crate) fn problems(problems: &Problems) {
    let stderr = std::io::stderr();
    let rendered = rendered_problems(problems, page::is_colored(&stderr));
    let _ = stderr.lock().write_all(rendered.as_bytes());
}

/// Draws problems of documents with their lines: of what miette gets, nothing acts on a terminal.
fn rendered_problems(problems: &Problems, colored: bool) -> String {
    let theme = if colored { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(100).with_links(false);
    let mut out = String::new();
    for problem in &problems.0 {
        let _ = handler.render_report(&mut out, report(problem).as_ref());
        out.push('\n');
    }
    let errors = problems.0.iter().filter(|problem| problem.severity == Severity::Error).count();
    out.push_str(&format!("{errors} error{}\n", if errors == 1 { "" } else { "s" }));
    out.split_inclusive('\n').map(page::without_commands).collect()
}

fn report(problem: &Problem) -> Report {
    let path = visible::escaped(&problem.source.path);
    let message = visible::escaped(&problem.message);
    let mut diagnostic = MietteDiagnostic::new(message.clone().into_owned()).with_severity(match problem.severity {
        Severity::Error => Level::Error,
        Severity::Warning => Level::Warning,
        Severity::Info => Level::Advice,
    });
    if let Some(hint) = &problem.hint {
        diagnostic = diagnostic.with_help(visible::escaped(hint).into_owned());
    }
    match problem.span {
        Some(span) if !problem.source.text.is_empty() => {
            let length = span.length.max(1).min(problem.source.text.len().saturating_sub(span.offset));
            let label = LabeledSpan::new_with_span(Some("here".to_owned()), (span.offset.min(problem.source.text.len()), length));
            Report::new(diagnostic.with_label(label)).with_source_code(NamedSource::new(path, blanked(&problem.source.text)))
        }
        _ => Report::new(MietteDiagnostic { message: format!("{path}: {message}"), ..diagnostic }),
    }
}

/// Returns a document's text with a question mark for each byte of a hidden character: places in it stay where they are.
fn blanked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            '\r' => out.push(' '),
            c if visible::is_hidden(c) => out.extend(std::iter::repeat_n('?', c.len_utf8())),
            c => out.push(c),
        }
    }
    out
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
    let mut page = Page::default();
    for group in &groups {
        let Some(((diagnostic, place), others)) = group.split_first() else { continue };
        let (style, word) = match diagnostic.severity {
            Severity::Error => (RED, "error"),
            Severity::Warning => (YELLOW, "warning"),
            Severity::Info => (DIM, "info"),
        };
        let place = place.as_ref().map(|place| format!("{BOLD}{place}{BOLD:#}: ")).unwrap_or_default();
        page.paragraph(format_args!("{style}{word}{style:#}: {place}{diagnostic}"));
        if let Some(hint) = &diagnostic.hint {
            page.paragraph(help(hint));
        }
        for (other, place) in others.iter().take(ALIKE_MAX) {
            let place = place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
            page.line(format_args!("  {DIM}also{DIM:#}: {place}{}", other.subject));
        }
        if others.len() > ALIKE_MAX {
            page.line(format_args!("  {DIM}and {} more{DIM:#}", others.len() - ALIKE_MAX));
        }
    }
    page.tell();
}

/// Writes a value as JSON or YAML; text is the caller's.
pub(crate) fn structured<T: Serialize>(format: Format, value: &T) -> Result<(), Failure> {
    match format {
        Format::Json | Format::Text => json(&(serde_json::to_string_pretty(value).map_err(Failure::failed)? + "\n")),
        Format::Yaml => {
            let value = serde_json::to_value(value).map_err(Failure::failed)?;
            yaml(&serde_saphyr::to_string(&value).map_err(Failure::failed)?, || serde_json::to_string_pretty(&value))
        }
    }
}

/// Writes JSON; hidden characters and commands of CI services in its strings are escaped, which leaves it the same JSON.
pub(crate) fn json(text: &str) -> Result<(), Failure> {
    let mut text = visible::escaped_json(text);
    while text.contains("##") {
        text = text.replace("##", "\\u0023#").into();
    }
    machine(&text)
}

/// Writes YAML; where hidden characters or commands of CI services stand in it, its JSON, which is YAML that can escape them.
pub(crate) fn yaml(text: &str, as_json: impl FnOnce() -> serde_json::Result<String>) -> Result<(), Failure> {
    let is_plain = |line: &str| !line.contains(visible::is_hidden) && page::without_commands(line) == line;
    if text.lines().all(is_plain) {
        return machine(text);
    }
    json(&(as_json().map_err(Failure::failed)? + "\n"))
}

/// Writes what programs read to standard output; nothing in it is for a terminal alone.
fn machine(text: &str) -> Result<(), Failure> {
    page::written(std::io::stdout().lock().write_all(text.as_bytes()))
}

/// Begins another document of a YAML stream.
pub(crate) fn separator() -> Result<(), Failure> {
    machine("---\n")
}

/// Writes a document in the language of another program, whose labels are escaped where they are made.
pub(crate) fn drawing(text: &str) -> Result<(), Failure> {
    machine(text)
}

/// Writes a table.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header.iter().map(|name| name.to_uppercase()));
    for row in rows {
        table.add_row(row.iter().map(|cell| visible::escaped(cell)));
    }
    let mut page = Page::default();
    page.lines(table.lines().map(|line| line.trim_end().to_owned()));
    page.print()
}

/// Writes a plan for people.
pub(crate) fn plan(plan: &Plan) -> Result<Page, Failure> {
    let mut out = Page::default();
    let digest = plan.digest().map_err(Failure::failed)?;
    out.line(format_args!(
        "{BOLD}Plan {} for {}/{}{BOLD:#} ({})",
        digest.short(),
        plan.application,
        plan.environment,
        plan.environment_type
    ));
    if let Some(before) = plan.follows {
        out.line(format_args!("{DIM}a later stage: behind plan {}{DIM:#}", before.short()));
    }
    for known in &plan.values {
        out.line(format_args!("{DIM}{} {} is {}{DIM:#}", known.action, known.output, known.value));
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
        out.blank();
        out.line(format_args!("{BOLD}{}{BOLD:#}{DIM}{by}{DIM:#}", node.key));
        for action in changed {
            let sign = sign(&action.change).before(action.change.word());
            out.line(format_args!("  {sign} {}{}", shown(&action.identity), why(&action.change)));
            out.lines(changes::of_fields(&action.fields, &action.spec).iter().map(|line| format!("      {line}")));
        }
    }
    later(&mut out, plan);
    let late: Vec<_> = plan.destroys.iter().filter(|destroy| destroy.why != DestroyReason::Replaced).collect();
    if !late.is_empty() {
        out.blank();
        out.line(format_args!("{BOLD}Taken away{BOLD:#}"));
        for destroy in late {
            let (word, sign) = removal(destroy.act);
            let notes = removal_notes(destroy.holds_data, destroy.guarded);
            out.line(format_args!("  {} {}{RED}{notes}{RED:#}", sign.before(word), shown(&destroy.identity)));
        }
    }
    // Plans have thousands of flows: no action is searched for each of them.
    let changed: HashMap<_, _> = plan.actions().filter(|action| action.change.is_change()).map(|action| (&action.id, action)).collect();
    let flows: Vec<_> = plan.secret_flows.iter().filter_map(|flow| Some((flow, changed.get(&flow.to)?))).collect();
    if !flows.is_empty() {
        out.blank();
        out.line(format_args!("{BOLD}Secrets{BOLD:#}"));
        for (flow, to) in flows {
            out.line(format_args!("  {} → {} {DIM}{}{DIM:#}", flow.from, shown(&to.identity), flow.pointer));
        }
    }
    // Where everything goes, no image comes.
    for (container, image) in plan.images.iter().filter(|_| plan.nodes().next().is_some()) {
        out.blank();
        out.line(format_args!("{DIM}image of {container} as last deployed: {image}{DIM:#}"));
    }
    let counts: Vec<String> = plan
        .counts()
        .into_iter()
        .filter(|(word, _)| *word != "none")
        .map(|(word, count)| if word == "pending" { format!("{count} pending") } else { format!("{count} to {word}") })
        .collect();
    let same = plan.counts().get("none").copied().unwrap_or(0);
    out.blank();
    out.line(format_args!(
        "{}{}",
        if counts.is_empty() { "No changes".to_owned() } else { counts.join(", ") },
        if same > 0 { format!(", {same} unchanged.") } else { ".".to_owned() }
    ));
    Ok(out)
}

/// Writes what a later plan decides.
fn later(out: &mut Page, plan: &Plan) {
    if plan.staged().next().is_none() {
        return;
    }
    out.blank();
    out.line(format_args!("{BOLD}Planned when the above is ready{BOLD:#}"));
    for node in plan.later() {
        let needs = plan.staged().find(|staged| staged.key == node.key).map(|staged| staged.needs.as_slice()).unwrap_or_default();
        let after: Vec<String> = needs.iter().map(|need| format!("«{}» at {}", need.of.label(), need.pointer)).collect();
        let what = match (after.is_empty(), node.actions.len()) {
            (false, _) => format!("needs {}", after.join(", ")),
            (true, 1) => "1 action".to_owned(),
            (true, count) => format!("{count} actions"),
        };
        out.line(format_args!("  {YELLOW}?{YELLOW:#} {} {DIM}{what}{DIM:#}", node.key));
    }
}

/// The coloured sign of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sign(Style, char);

impl Sign {
    /// Puts the sign before the word for the change, both in its colour.
    pub(crate) fn before(self, word: &str) -> String {
        let Self(style, sign) = self;
        format!("{style}{sign} {word:<8}{style:#}")
    }
}

pub(crate) fn sign(change: &Change) -> Sign {
    match change {
        Change::Create => Sign(GREEN, '+'),
        Change::Update => Sign(YELLOW, '~'),
        Change::Replace { .. } => Sign(RED, '±'),
        Change::Delete => Sign(RED, '-'),
        Change::None => Sign(DIM, ' '),
        Change::Pending { .. } => Sign(YELLOW, '?'),
    }
}

/// Returns the word and the sign for a thing that nothing needs any more.
pub(crate) fn removal(act: OnRemove) -> (&'static str, Sign) {
    let word = match act {
        OnRemove::Delete => "delete",
        OnRemove::Retain => "retain",
    };
    (word, Sign(RED, '-'))
}

/// Writes what stands in the way of a removal behind it.
pub(crate) fn removal_notes(holds_data: bool, guarded: bool) -> String {
    let notes: Vec<&str> = [(holds_data, "holds data"), (guarded, "needs --allow-destroy")]
        .into_iter()
        .filter_map(|(applies, note)| applies.then_some(note))
        .collect();
    if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) }
}

/// Writes why or when a change is made behind it.
pub(crate) fn why(change: &Change) -> String {
    match change {
        Change::Replace { why } => format!(": {why}"),
        Change::Pending { on } => format!(" only if {} changes", on.iter().map(|on| format!("«{on}»")).collect::<Vec<_>>().join(", ")),
        Change::Create | Change::Update | Change::Delete | Change::None => String::new(),
    }
}
