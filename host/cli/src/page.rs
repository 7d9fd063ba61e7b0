//! Pages: lines for people, escaped at the one place that writes them.
//!
//! Names, messages and values of other people reach this module as they are. A line never holds a character that acts on a terminal,
//! and never begins or contains a command of a CI service: only the styles of this module become escape sequences.

use std::{borrow::Cow, fmt, hash::BuildHasher as _, io::Write as _, sync::OnceLock};

use anstream::{AutoStream, ColorChoice};
use anstyle::AnsiColor;
use windlass_model::visible;

use crate::exit::Failure;

/// Opens a mark of a style inside of a line.
const MARK: char = '\u{FDE0}';

/// How text looks on a terminal with colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Style {
    Green,
    Yellow,
    Red,
    Dim,
    Bold,
}

const STYLES: [Style; 5] = [Style::Green, Style::Yellow, Style::Red, Style::Dim, Style::Bold];

impl Style {
    fn ansi(self) -> anstyle::Style {
        match self {
            Self::Green => AnsiColor::Green.on_default(),
            Self::Yellow => AnsiColor::Yellow.on_default(),
            Self::Red => AnsiColor::Red.on_default(),
            Self::Dim => anstyle::Style::new().dimmed(),
            Self::Bold => anstyle::Style::new().bold(),
        }
    }

    const fn letter(self) -> char {
        match self {
            Self::Green => 'g',
            Self::Yellow => 'y',
            Self::Red => 'r',
            Self::Dim => 'd',
            Self::Bold => 'b',
        }
    }
}

/// A mark that begins a style, or ends it with `{:#}`, as `anstyle` has it.
impl fmt::Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = if f.alternate() { RESET } else { self.letter() };
        write!(f, "{MARK}{}{letter}", nonce())
    }
}

/// The letter of the mark that ends all styles.
const RESET: char = 'e';

/// Returns a character of the private use area that differs from process to process: text from elsewhere cannot hold a mark.
fn nonce() -> char {
    static NONCE: OnceLock<char> = OnceLock::new();
    *NONCE.get_or_init(|| {
        let random = std::hash::RandomState::new().hash_one(MARK);
        u32::try_from(random % 0x1900).ok().and_then(|offset| char::from_u32(0xE000 + offset)).unwrap_or('\u{E000}')
    })
}

/// What other lines of one paragraph begin with: something visible, so that none of them looks like a line of its own.
const CONTINUED: &str = "  │ ";

/// Lines for people.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    /// Escaped lines with marks of styles, each with its line end.
    text: String,
}

impl Page {
    /// Adds one line; line ends inside of it are escaped like every other control character.
    pub(crate) fn line(&mut self, line: impl fmt::Display) {
        escape_line(&mut self.text, &line.to_string());
        self.text.push('\n');
    }

    /// Adds an empty line.
    pub(crate) fn blank(&mut self) {
        self.text.push('\n');
    }

    /// Adds text that may have several lines; each but the first is marked as continued.
    pub(crate) fn paragraph(&mut self, text: impl fmt::Display) {
        let text = text.to_string();
        for (index, line) in text.trim_end_matches('\n').split('\n').enumerate() {
            if index > 0 {
                self.text.push_str(CONTINUED);
            }
            // The mark takes the place of an indentation.
            escape_line(&mut self.text, line.strip_prefix("  ").filter(|_| index > 0).unwrap_or(line));
            self.text.push('\n');
        }
    }

    /// Adds a line for each item.
    pub(crate) fn lines(&mut self, lines: impl IntoIterator<Item = impl fmt::Display>) {
        lines.into_iter().for_each(|line| self.line(line));
    }

    /// Writes the page to standard output.
    pub(crate) fn print(&self) -> Result<(), Failure> {
        let stdout = std::io::stdout();
        let colored = is_colored(&stdout);
        written(stdout.lock().write_all(self.rendered(colored).as_bytes()))
    }

    /// Writes the page to standard error in one piece: standard error has no buffer. A closed pipe is no failure.
    pub(crate) fn tell(&self) {
        let stderr = std::io::stderr();
        let colored = is_colored(&stderr);
        let _ = stderr.lock().write_all(self.rendered(colored).as_bytes());
    }

    /// Writes the page to standard error without its last line end and leaves the cursor there, for a question.
    pub(crate) fn ask(&self) {
        let stderr = std::io::stderr();
        let rendered = self.rendered(is_colored(&stderr));
        let mut out = stderr.lock();
        let _ = out.write_all(rendered.trim_end_matches('\n').as_bytes()).and_then(|()| out.flush());
    }

    /// Turns marks of styles into escape sequences, or into nothing.
    pub(crate) fn rendered(&self, colored: bool) -> String {
        let mut out = String::with_capacity(self.text.len());
        let mut rest = self.text.as_str();
        while let Some((before, marked)) = rest.split_once(MARK) {
            out.push_str(before);
            let mut chars = marked.chars();
            let (_, letter) = (chars.next(), chars.next());
            if colored {
                match STYLES.into_iter().find(|style| Some(style.letter()) == letter) {
                    Some(style) => out.push_str(&style.ansi().render().to_string()),
                    None => out.push_str(&anstyle::Reset.render().to_string()),
                }
            }
            rest = chars.as_str();
        }
        out.push_str(rest);
        out
    }
}

/// A closed pipe is no failure.
pub(crate) fn written(result: std::io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Returns whether colours are wanted on a stream.
pub(crate) fn is_colored<S: anstream::stream::RawStream>(stream: &S) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

/// Appends one line without anything that acts: hidden characters and commands of CI services are escaped, marks of styles stay.
fn escape_line(out: &mut String, line: &str) {
    let line = without_commands(line);
    let mut rest = &*line;
    while let Some((before, marked)) = rest.split_once(MARK) {
        out.push_str(&visible::escaped(before));
        let mut ahead = marked.chars();
        match (ahead.next(), ahead.next()) {
            (Some(key), Some(letter)) if key == nonce() && is_letter(letter) => {
                out.extend([MARK, key, letter]);
                rest = ahead.as_str();
            }
            _ => {
                out.push_str(&visible::escaped(MARK.encode_utf8(&mut [0; 4])));
                rest = marked;
            }
        }
    }
    out.push_str(&visible::escaped(rest));
}

fn is_letter(letter: char) -> bool {
    letter == RESET || STYLES.iter().any(|style| style.letter() == letter)
}

/// Returns a line in which no CI service finds a command.
///
/// GitHub takes `::add-mask::…` at the beginning of a line, whatever white space stands before it. GitHub, Azure Pipelines and TeamCity
/// take `##[…]`, `##vso[…]` and `##teamcity[…]` anywhere.
pub(crate) fn without_commands(line: &str) -> Cow<'_, str> {
    let begins = line.trim_start().starts_with("::");
    if !begins && !line.contains("##") {
        return Cow::Borrowed(line);
    }
    let mut out = String::with_capacity(line.len() + 16);
    let mut rest = line;
    if begins {
        let (before, after) = line.split_once(':').unwrap_or_default();
        out.push_str(before);
        out.push_str("\\u{3a}");
        rest = after;
    }
    while let Some((before, after)) = rest.split_once("##") {
        let is_command = after.trim_start_matches(|c: char| c.is_ascii_alphanumeric()).starts_with('[');
        out.push_str(before);
        out.push_str(if is_command { "\\u{23}" } else { "#" });
        // The second character may begin a command itself.
        rest = rest.get(before.len() + 1..).unwrap_or_default();
    }
    out.push_str(rest);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        let mut page = Page::default();
        page.line(line);
        page.rendered(false)
    }

    #[test]
    fn a_line_stays_one_line_whatever_it_holds() {
        assert_eq!(shown("a\nb\r\x1b]0;title\x07\u{9b}31m\u{202e}c"), "a\\nb\\r\\u{1b}]0;title\\u{7}\\u{9b}31m\\u{202e}c\n");
    }

    #[test]
    fn commands_of_ci_services_are_escaped_where_they_would_act() {
        assert_eq!(shown("::add-mask::x"), "\\u{3a}:add-mask::x\n");
        assert_eq!(shown("  \t::stop-commands::x"), "  \\t\\u{3a}:stop-commands::x\n");
        assert_eq!(shown("error: ##[group]x ##vso[task.setvariable]y"), "error: \\u{23}#[group]x \\u{23}#vso[task.setvariable]y\n");
        assert_eq!(shown("###[x] ## heading [1], std::io"), "#\\u{23}#[x] ## heading [1], std::io\n");
    }

    #[test]
    fn styles_are_ours_alone() {
        let mut page = Page::default();
        page.line(format_args!("{}✓{:#} done", Style::Green, Style::Green));
        page.line(format_args!("{MARK}xgforged {MARK}g"));
        assert_eq!(page.rendered(true), "\u{1b}[32m✓\u{1b}[0m done\n\\u{fde0}xgforged \\u{fde0}g\n");
        assert!(page.rendered(false).starts_with("✓ done\n"));
    }

    #[test]
    fn further_lines_of_a_paragraph_are_marked() {
        let mut page = Page::default();
        page.paragraph("error: a\n::set-output name=x::y\n✓ done");
        assert_eq!(page.rendered(false), "error: a\n  │ \\u{3a}:set-output name=x::y\n  │ ✓ done\n");
    }
}
