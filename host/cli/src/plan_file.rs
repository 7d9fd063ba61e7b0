//! Plan files on this machine: read with bounds, and compared with the plan that this machine makes.
//!
//! `deploy` plans a file's model with this machine's platform, connections and grants, and applies its own plan if that equals the one
//! in the file.

use std::{
    fs::{self, File},
    io::Read as _,
    path::Path,
};

use serde_json::Value;
use windlass_document::{PLAN_FILE_HEAD_BYTES, PlanFile, PlanFileError};
use windlass_model::{
    differences::{Difference, differences},
    limits,
    plan::Plan,
    sealed::Sealed,
};

use crate::{
    excerpt,
    exit::{Code, Failure},
};

/// Length of a value in the message about a difference.
const SHOWN_CHARS_MAX: usize = 120;
/// Digests in a plan that differ whenever what they cover differs, which says more; the most telling one comes first.
const SUMMARIES: [&str; 7] = ["/policy", "/platform", "/components", "/model", "/basis", "/desired", "/request"];

/// Writes a plan file.
pub(crate) fn write(file: &PlanFile, path: &Path) -> Result<(), Failure> {
    let text = file.to_text().map_err(|error| Failure::failed(format!("the plan does not fit into a file: {error}")))?;
    fs::write(path, text).map_err(|error| Failure::failed(format!("{} can't be written: {error}", path.display())))
}

/// Reads a plan file; none if the file is something else.
pub(crate) fn read(path: &Path) -> Result<Option<PlanFile>, Failure> {
    if !path.is_file() {
        return Ok(None);
    }
    let mut file = File::open(path)?;
    let mut text = Vec::new();
    file.by_ref().take(PLAN_FILE_HEAD_BYTES as u64).read_to_end(&mut text)?;
    if !PlanFile::is_plan_file(&text) {
        return Ok(None);
    }
    let rest = limits::PLAN_FILE_BYTES_MAX + 1 - text.len();
    file.take(rest as u64).read_to_end(&mut text)?;
    PlanFile::parse(&text).map(Some).map_err(|error| refused(&error, path))
}

/// Says why a plan file is refused, and which way leads on.
pub(crate) fn refused(error: &PlanFileError, path: &Path) -> Failure {
    let bad = |reason: String| Failure::new(Code::BadInput, reason);
    match error {
        PlanFileError::Version => {
            bad(format!("the plan file {} can't be read: {error}", path.display())).hint("plan again with this version of Windlass")
        }
        PlanFileError::Unreadable(reason) => bad(format!("the plan file {} can't be read: {reason}", path.display())),
        PlanFileError::Connection(_) => bad(error.to_string())
            .hint("store it with `windlass platform apply` on the machine that deploys, or deploy without a plan file"),
        PlanFileError::Component(_) => bad(error.to_string()),
    }
}

/// Refuses an approved plan that is not the one that this machine makes, and names the first difference.
pub(crate) fn check_equal(approved: &Plan, made: &Plan) -> Result<(), Failure> {
    if approved.digest().map_err(Failure::failed)? == made.digest().map_err(Failure::failed)? {
        return Ok(());
    }
    let difference = first_difference(approved, made)?;
    if approved.basis == made.basis {
        return Err(Failure::new(Code::BadInput, format!("the plan in the file is stale or was changed: {difference}"))
            .hint("this machine plans with its own platform, connections, grants and secrets: plan again here, and look at what differs"));
    }
    Err(Failure::failed(format!("the plan is stale: the environment changed since it was made; {difference}")).hint("plan again"))
}

/// Says where two plans differ first: the path and both values. Plans hold no secrets; sealed values are named by their origins.
fn first_difference(approved: &Plan, made: &Plan) -> Result<String, Failure> {
    let unreadable = |error: serde_json::Error| Failure::new(Code::BadInput, format!("the plan in the file can't be read: {error}"));
    let (approved, made) = (serde_json::to_value(approved).map_err(unreadable)?, serde_json::to_value(made).map_err(unreadable)?);
    let mut first: Option<(usize, String)> = None;
    differences(&approved, &made, &|value| Sealed::from_json(value).is_some(), &mut |at, Difference { from, to }| {
        let at = at.to_string();
        // What is no digest comes before all digests.
        let rank = SUMMARIES.iter().position(|summary| at.starts_with(summary) || at.ends_with(summary)).map_or(0, |rank| rank + 1);
        if first.as_ref().is_none_or(|(found, _)| rank < *found) {
            let (from, to) = shown(from, to);
            first = Some((rank, format!("`{at}` is {from} in the file and {to} here")));
        }
    });
    Ok(first.map_or_else(|| "its text is not canonical".to_owned(), |(_, difference)| difference))
}

/// Writes the beginning of both values, or where both are long of the part that differs.
fn shown(from: Option<&Value>, to: Option<&Value>) -> (String, String) {
    let one = |value: Option<&Value>| value.map_or_else(|| "absent".to_owned(), excerpt::text);
    let (from, to) = from.zip(to).map_or_else(|| (one(from), one(to)), |(from, to)| excerpt::pair(from, to));
    (beginning(from), beginning(to))
}

fn beginning(text: String) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_long_values_the_first_difference_is_shown_within_bounds() {
        let nodes = |from: usize| json!((from..2_000).map(|node| json!({ "key": format!("workload/{node:04}") })).collect::<Vec<_>>());
        let (file, here) = shown(Some(&nodes(0)), Some(&nodes(1)));
        assert!(file.contains("workload/0000") && here.contains("workload/0001"), "{file} {here}");
        let (alone, absent) = shown(Some(&nodes(0)), None);
        assert!(alone.contains("workload/0000") && absent == "absent");
        assert!([file, here, alone].iter().all(|text| text.chars().count() <= SHOWN_CHARS_MAX + 1));
    }
}
