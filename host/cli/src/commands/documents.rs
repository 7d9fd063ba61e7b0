//! `validate` and `schema`.

use std::path::PathBuf;

use windlass_document::{KINDS, schema_of};

use crate::{
    exit::{Code, Failure},
    print,
};

pub(crate) fn validate(paths: &[PathBuf]) -> Result<Code, Failure> {
    let count = windlass_document::validate(paths)?;
    print::out(&format!("{count} document{} valid\n", if count == 1 { " is" } else { "s are" }))?;
    Ok(Code::Done)
}

pub(crate) fn schema(kind: &str) -> Result<Code, Failure> {
    let wanted = KINDS.iter().find(|known| known.eq_ignore_ascii_case(kind));
    match wanted.and_then(|kind| schema_of(kind)) {
        Some(schema) => {
            let text = serde_json::to_string_pretty(schema).map_err(Failure::failed)?;
            print::out(&(text + "\n"))?;
            Ok(Code::Done)
        }
        None => {
            Err(Failure::usage(format!("there is no kind `{kind}`")).hint(match windlass_resolve::nearest(kind, KINDS.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("kinds: {}", KINDS.join(", ")),
            }))
        }
    }
}
