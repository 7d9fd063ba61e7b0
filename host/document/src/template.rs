//! Files that a template engine has not rendered yet.

use std::sync::Arc;

use windlass_model::pointer;

use crate::{
    problem::{Problem, Problems, Source},
    tree::{Node, NodeValue, Span},
};

const HINT: &str = "render it first, and name the rendered file";

/// Returns the error of a Score document that holds marks of a template engine where nothing but the value itself can stand.
/// Variables, files, commands, params and annotations may hold such marks for the program that reads them; `${{ … }}` in a variable
/// may not, because Score's own placeholders begin with the same characters.
pub(crate) fn unrendered(source: &Arc<Source>, node: &Node) -> Option<Problem> {
    let (mark, span, at) = find(node, &mut Vec::new())?;
    Some(problem(source, mark).at(span, at))
}

/// Says that a file which is no YAML is a template, if the place of its error looks like one.
pub(crate) fn explained(source: &Arc<Source>, problems: Problems) -> Problems {
    let of_template = problems.0.iter().find_map(|found| {
        let span = found.span?;
        let line = source.text.lines().nth(usize::try_from(span.line).ok()?.checked_sub(1)?)?;
        Some(problem(source, mark(line)?).at(span, ""))
    });
    of_template.or_else(|| control_line(source)).map_or(problems, Problems::from)
}

fn problem(source: &Arc<Source>, mark: &str) -> Problem {
    Problem::file(source, "template", format!("the file is a template that was not rendered: `{mark}`")).hint(HINT)
}

/// Returns the error about the first line that begins with a statement of a template engine, such as `{{- if … }}` or `{% for … %}`.
fn control_line(source: &Arc<Source>) -> Option<Problem> {
    let mut offset = 0;
    for (number, line) in (1..).zip(source.text.split_inclusive('\n')) {
        let statement = line.trim_start();
        if statement.starts_with("{{") || statement.starts_with("{%") {
            let column = line.len() - statement.len();
            let statement = statement.trim_end();
            let span = Span { offset: offset + column, length: statement.len(), line: number, column: u32::try_from(column + 1).ok()? };
            return Some(problem(source, mark(statement)?).at(span, ""));
        }
        offset += line.len();
    }
    None
}

/// Returns the first mark of a template engine in a text.
fn mark(text: &str) -> Option<&str> {
    if !text.bytes().any(|byte| byte == b'{') {
        return None;
    }
    let pairs = [("${{", "}}"), ("{{", "}}"), ("{%", "%}")];
    let found = pairs.into_iter().filter_map(|(open, close)| {
        let start = text.find(open).filter(|start| !text.get(..*start).is_some_and(|before| open == "${{" && before.ends_with('$')))?;
        let length = text.get(start..)?.find(close)? + close.len();
        Some((start, text.get(start..start + length)?))
    });
    found.min_by_key(|(start, _)| *start).map(|(_, mark)| mark)
}

/// What may stand in the values at a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    /// The value itself.
    Plain,
    /// Text in which Score's placeholders act.
    Expanded,
    /// Text for another program.
    Free,
}

/// Returns what may stand at a place of a Score document.
fn content(path: &[&str]) -> Content {
    match path {
        ["containers", _, "variables", ..] => Content::Expanded,
        ["containers", _, "files" | "command" | "args", ..] | ["resources", _, "params" | "metadata", ..] => Content::Free,
        ["metadata", "name"] | ["metadata"] => Content::Plain,
        ["metadata", ..] => Content::Free,
        _ => Content::Plain,
    }
}

fn find<'n>(node: &'n Node, path: &mut Vec<&'n str>) -> Option<(&'n str, Span, String)> {
    let content = content(path);
    let refused = |text: &'n str| match content {
        Content::Plain => mark(text),
        Content::Expanded => mark(text).filter(|mark| mark.starts_with('$')),
        Content::Free => None,
    };
    let at = |path: &[&str]| path.iter().map(|step| format!("/{}", pointer::escape(step))).collect::<String>();
    match &node.value {
        NodeValue::String(text) => Some((refused(text)?, node.span, at(path))),
        NodeValue::List(items) => items.iter().find_map(|item| find(item, path)),
        NodeValue::Map(fields) => fields.iter().find_map(|(key, value)| {
            if let Some(mark) = refused(&key.text) {
                return Some((mark, key.span, at(path)));
            }
            path.push(&key.text);
            let found = find(value, path);
            path.pop();
            found
        }),
        NodeValue::Null | NodeValue::Bool(_) | NodeValue::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<(u32, String)> {
        let source = Arc::new(Source { path: "web.yaml".to_owned(), text: text.to_owned() });
        match crate::tree::parse(&source) {
            Ok(nodes) => unrendered(&source, &nodes[0]),
            Err(problems) => explained(&source, problems).0.into_iter().find(|problem| problem.code == "template"),
        }
        .map(|problem| (problem.span.map_or(0, |span| span.line), problem.message))
    }

    #[test]
    fn marks_stand_where_only_the_value_can() {
        let head = "apiVersion: score.dev/v1b1\nmetadata:\n  name: ";
        for (text, line) in [
            (format!("{head}{{{{ name }}}}\n"), 3),
            (format!("{head}\"{{{{ name }}}}\"\n"), 3),
            (format!("{head}${{{{ values.name }}}}\n"), 3),
            (format!("{head}web\ncontainers:\n  main:\n    image: ghcr.io/${{{{ github.repository }}}}:1\n"), 6),
            (format!("{head}web\n{{{{- if .Values.x }}}}\ncontainers: {{}}\n{{{{- end }}}}\n"), 4),
            (format!("{head}web\n{{% for x in y %}}\n{{% endfor %}}\n"), 4),
            (format!("{head}web\ncontainers:\n  main:\n    variables:\n      A: ${{{{ secrets.A }}}}\n"), 7),
        ] {
            assert_eq!(found(&text).map(|(line, _)| line), Some(line), "{text}");
        }
    }

    #[test]
    fn text_for_other_programs_may_hold_marks() {
        let text = "apiVersion: score.dev/v1b1\nmetadata: { name: web, annotations: { a: \"{{ with secret }}\" } }\ncontainers:\n  main:\n    image: x\n    args: [\"--format={{ .Name }}\"]\n    variables: { A: \"{{ x }}\", B: \"$${{ x }}\" }\n    files: { /a: { content: \"{{ x }} ${{ y }}\" } }\nresources: { r: { type: route, params: { host: \"{{ x }}\" } } }\n";
        assert_eq!(found(text), None);
        assert_eq!(found("a: [\n"), None);
    }
}
