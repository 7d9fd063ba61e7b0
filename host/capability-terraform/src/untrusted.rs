//! The parsers of text that modules, programs and states bring, without a program that runs: the fuzz targets call them.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::io::AsyncRead;

use crate::{
    module, report, state,
    transcript::{Line, Lines, Ran},
};

/// Hears the standard output of a program to its end, and returns the words that people would be told; `is_open` where the module took
/// no secret.
///
/// # Errors
///
/// Where the stream can't be read.
pub async fn transcript(stream: impl AsyncRead + Unpin, is_open: bool) -> std::io::Result<Vec<String>> {
    let (mut lines, mut ran, mut heard, mut told) = (Lines::new(stream), Ran::default(), 0, Vec::new());
    while let Some(line) = lines.next().await? {
        match line {
            Line::Whole(line) => ran.take(&line, &mut heard, &mut |line| {
                told.extend(report::progress(line, is_open));
                told.extend(report::planned(line, is_open));
            }),
            Line::TooLong => ran.is_cut = true,
        }
    }
    told.push(report::errors(&ran, is_open));
    Ok(told)
}

/// Reads the files of a module, by path, and returns the addresses of the modules that it takes from elsewhere.
///
/// # Errors
///
/// The file that is refused, and why.
pub fn module(files: &BTreeMap<String, String>) -> Result<Vec<String>, (String, String)> {
    module::read(files).map(|module| module.remote.into_iter().collect())
}

/// Lists the providers that a lock file names.
///
/// # Errors
///
/// Why it can't be read.
pub fn lock_file(text: &str) -> Result<Vec<String>, String> {
    module::providers(text).map(|providers| providers.into_iter().collect())
}

/// Reads a state that is handed over, and returns whether it may take the place of the one that is kept.
///
/// # Errors
///
/// Why one of both can't be read.
pub fn state(kept: &str, handed_over: &str) -> Result<bool, String> {
    let (kept, handed_over): (Value, Value) = (state::parse(kept)?, state::parse(handed_over)?);
    Ok(state::is_complete(&handed_over) && state::goes_on(&kept, &handed_over))
}
