//! Everything that is wrong with what was read, with its place.

use std::{collections::HashSet, fmt, sync::Arc};

use windlass_model::Severity;

use crate::tree::Span;

/// A file as the user named it, with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The path as the user gave it.
    pub path: String,
    /// The text.
    pub text: String,
}

/// One finding: what, where, how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Stable, for machines.
    pub code: &'static str,
    /// One sentence, lower case, no full stop.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
    /// The file; its text is empty if it couldn't be read.
    pub source: Arc<Source>,
    /// The place in the file.
    pub span: Option<Span>,
    /// RFC 6901 into the document.
    pub pointer: String,
}

impl Problem {
    /// Makes an error about a whole file.
    #[must_use]
    pub fn file(source: &Arc<Source>, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            hint: None,
            source: Arc::clone(source),
            span: None,
            pointer: String::new(),
        }
    }

    /// Makes an error about a path that has no text.
    #[must_use]
    pub fn path(path: impl fmt::Display, code: &'static str, message: impl Into<String>) -> Self {
        Self::file(&Arc::new(Source { path: path.to_string(), text: String::new() }), code, message)
    }

    /// Says where it stands.
    #[must_use]
    pub fn at(mut self, span: Span, pointer: impl Into<String>) -> Self {
        self.span = Some(span);
        self.pointer = pointer.into();
        self
    }

    /// Says how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says how to mend it, where that is known.
    #[must_use]
    pub fn hint_if(self, hint: Option<String>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source.path)?;
        if let Some(span) = self.span {
            write!(f, ":{}:{}", span.line, span.column)?;
        }
        write!(f, ": {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// All findings of one reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Adds one.
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Adds several.
    pub fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// Tells whether any is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Returns the value if nothing is wrong; problems are ordered by file and place.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.has_errors() { Err(self.sorted()) } else { Ok(value) }
    }

    /// Orders by file and place; what is told twice is told once.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        let mut known = HashSet::new();
        self.0.retain(|problem| known.insert((problem.source.path.clone(), problem.pointer.clone(), problem.message.clone())));
        self.0.sort_by_key(|problem| (problem.source.path.clone(), problem.span.map_or((0, 0), |span| (span.line, span.column))));
        self
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
