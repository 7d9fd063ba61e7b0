//! How a command ends: the one place where errors become exit codes and hints.

use std::process::ExitCode;

use windlass_document::Problems;
use windlass_engine::{apply::ApplyError, driver::Fault, session::CapabilityError, store::StoreError};
use windlass_model::{Diagnostic, state::EnvironmentKey};

/// Exit codes, as the help lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Done = 0,
    Failed = 1,
    Changes = 2,
    Waiting = 3,
    TimedOut = 4,
    Policy = 5,
    Usage = 64,
    BadInput = 65,
    Interrupted = 130,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// A command that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub code: Code,
    pub reason: Reason,
    /// Another process came first, and that is all: the same command may do what was asked for.
    pub overtaken: Option<Overtaken>,
}

/// How another process came first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Overtaken {
    /// It changes the environment now.
    Locked(EnvironmentKey),
    /// It changed the environment after the plan was made.
    Stale,
}

/// What is told about it.
#[derive(Debug)]
pub(crate) enum Reason {
    /// Problems of documents, and findings about those that could be read.
    Found(Problems, Vec<(Diagnostic, Option<String>)>),
    Text {
        message: String,
        hint: Option<String>,
    },
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, reason: Reason::Text { message: message.into(), hint: None }, overtaken: None }
    }

    pub(crate) fn failed(message: impl std::fmt::Display) -> Self {
        Self::new(Code::Failed, message.to_string())
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        if let Reason::Text { hint, .. } = &mut self.reason {
            *hint = Some(text.into());
        }
        self
    }

    /// Says how to mend it, where that is known.
    pub(crate) fn hint_if(self, hint: Option<String>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    fn overtaken(self, how: Overtaken) -> Self {
        Self { overtaken: Some(how), ..self }
    }

    /// Tells of problems of documents, and of findings about those that could be read.
    pub(crate) fn found(problems: Problems, findings: Vec<(Diagnostic, Option<String>)>) -> Self {
        Self { code: Code::BadInput, reason: Reason::Found(problems, findings), overtaken: None }
    }

    /// Tells of problems of documents, and of what planning them all the same found.
    pub(crate) fn with_problems(mut problems: Problems, planned: Option<Self>, is_news: impl Fn(&Diagnostic) -> bool) -> Self {
        let mut more = Vec::new();
        match planned.map(|failure| failure.reason) {
            Some(Reason::Found(of_platform, found)) => {
                problems.extend(of_platform);
                more.extend(found.into_iter().filter(|(finding, _)| is_news(finding)));
            }
            Some(Reason::Text { .. }) | None => {}
        }
        Self::found(problems, more)
    }

    /// Returns what is told in one line, if it is one.
    pub(crate) fn message(&self) -> &str {
        match &self.reason {
            Reason::Text { message, .. } => message,
            Reason::Found(..) => "",
        }
    }

    pub(crate) fn print(&self) {
        match &self.reason {
            Reason::Found(problems, diagnostics) => {
                if !problems.0.is_empty() {
                    crate::print::problems(problems);
                }
                crate::print::diagnostics(diagnostics);
            }
            Reason::Text { message, hint } => crate::print::error(message, hint.as_deref()),
        }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::found(problems, Vec::new())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let failure = Self::failed(&error);
        match error {
            StoreError::Locked { environment, .. } => {
                failure.hint("wait until it ends, or stop it").overtaken(Overtaken::Locked(environment))
            }
            StoreError::Taken { .. } => failure.hint("the same command again goes on with what is there").overtaken(Overtaken::Stale),
            StoreError::Unsafe { remedy, .. } => failure.hint(remedy),
            StoreError::Corrupt { .. } => failure.hint("restore the data folder from a backup"),
            StoreError::Unreadable { .. } => {
                failure.hint("a value is nested too deep: change the driver or the definition that makes it, and deploy again")
            }
            StoreError::Unauthentic(_) => failure.hint(
                "it was changed outside of Windlass, or WINDLASS_KEY or the key file is not the one that it was written under: \
                 restore key and data folder from one backup. Builds before this check wrote no codes: start with a new data folder",
            ),
            StoreError::StaleFence { .. } | StoreError::Missing(_) | StoreError::Failed { .. } => failure,
        }
    }
}

impl From<CapabilityError> for Failure {
    fn from(error: CapabilityError) -> Self {
        let failure = Self::failed(&error);
        match error.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::failed(fault)
    }
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        let message = error.to_string();
        match error {
            ApplyError::Store(error) => error.into(),
            ApplyError::Refused(_) => Self::new(Code::Policy, message),
            ApplyError::Guarded(_) => {
                Self::new(Code::Policy, message).hint("say `--allow-destroy` if that is meant, or keep it with `onRemove: retain`")
            }
            ApplyError::Stale(_) => Self::failed(message).hint("plan again").overtaken(Overtaken::Stale),
            ApplyError::Held { .. } => Self::failed(message).hint("find out why the process died; a new `deploy` takes over"),
            ApplyError::Connection { ref error, .. } | ApplyError::Secrets(ref error) => match &error.hint {
                Some(hint) => Self::failed(&message).hint(hint.clone()),
                None => Self::failed(message),
            },
            ApplyError::NothingUnderWay(_) | ApplyError::Document { .. } => Self::failed(message),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error)
    }
}
