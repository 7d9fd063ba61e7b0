//! States of modules: JSON documents that programs, modules and people hand over.

use serde_json::Value;
use windlass_model::{limits, nesting};

/// Reads a state.
///
/// # Errors
///
/// The limit that the text passes, or its first fault as JSON.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    if text.len() > limits::TERRAFORM_STATE_BYTES_MAX {
        return Err(format!("it has {} bytes; {} are allowed", text.len(), limits::TERRAFORM_STATE_BYTES_MAX));
    }
    let values = nesting::shape(text.as_bytes()).values;
    if values > limits::TERRAFORM_STATE_VALUES_MAX {
        return Err(format!("it has {values} values; {} are allowed", limits::TERRAFORM_STATE_VALUES_MAX));
    }
    serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))
}

/// Reads the serial number of a state.
pub(crate) fn serial(state: &Value) -> u64 {
    state.get("serial").and_then(Value::as_u64).unwrap_or_default()
}

/// Returns whether a state names its lineage and its serial number.
pub(crate) fn is_complete(state: &Value) -> bool {
    state.get("lineage").is_some_and(Value::is_string) && state.get("serial").is_some_and(Value::is_u64)
}

/// Returns whether a state may take the place of the one before: of the same lineage and newer, or the same again, where the first
/// answer was lost.
pub(crate) fn goes_on(before: &Value, state: &Value) -> bool {
    before.get("lineage") == state.get("lineage") && (serial(state) > serial(before) || state == before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_at_each_limit_passes_and_one_above_does_not() {
        // A list of n numbers counts its bracket, its commas and the whole.
        let list = |values: usize| format!("[{}1]", "1,".repeat(values - 2));
        assert!(parse(&list(limits::TERRAFORM_STATE_VALUES_MAX)).is_ok());
        assert!(parse(&list(limits::TERRAFORM_STATE_VALUES_MAX + 1)).is_err_and(|reason| reason.contains("values")));
        let long = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
        assert!(parse(&long(limits::TERRAFORM_STATE_BYTES_MAX)).is_ok());
        assert!(parse(&long(limits::TERRAFORM_STATE_BYTES_MAX + 1)).is_err_and(|reason| reason.contains("bytes")));
    }
}
