//! Plans, looks at the plan, applies exactly that.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind, EffectCx, Observed, Secret};
use windlass_model::{ActionId, limits};

use crate::{
    backend::Place,
    module,
    process::Runner,
    report,
    setup::init,
    spec::ModuleSpec,
    state::serial,
    work::{ERRORED, PLAN},
};

/// The exit code that says "there are changes".
const CHANGES: i32 = 2;

/// Takes over a state that a program could not hand to a host that had died.
pub(crate) async fn recover(runner: &Runner<'_>, place: &Place) -> Result<(), CapabilityError> {
    let path = runner.work.folder.join(ERRORED);
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(()) };
    match place.write(&text).await {
        // An older one is of no use any more.
        Ok(()) | Err(CapabilityError { kind: Kind::Conflict, .. }) => {
            let _ = std::fs::remove_file(path);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Makes what a module says so, or takes it away.
pub(crate) async fn apply(
    runner: &Runner<'_>,
    cx: &EffectCx<'_>,
    id: &ActionId,
    place: &Place,
    spec: &ModuleSpec,
    destroy: bool,
) -> Result<bool, CapabilityError> {
    let uncertain = runner.work.uncertain();
    if !uncertain.is_empty() {
        cx.events.note(id, &format!("cut off while these were being made, they may exist: {}", uncertain.join(", ")));
    }
    init(runner, Some(cx), spec).await?;
    recover(runner, place).await?;
    runner.work.write_variables(spec)?;
    let begins = !destroy && uncertain.is_empty() && has_nothing_to_lose(place, spec).await?;
    if !begins {
        let mut arguments = vec!["plan", "-input=false", "-json", "-detailed-exitcode", "-out", PLAN];
        if destroy {
            arguments.push("-destroy");
        }
        let mut lost = Lost::default();
        let planned = runner.run(Some(cx), &arguments, &mut |line| lost.take(line, runner.is_open)).await?;
        if planned.code != CHANGES {
            return if planned.code == 0 {
                Ok(false)
            } else {
                Err(failed("can't be planned", &report::errors(&planned, runner.is_open), &uncertain))
            };
        }
        if !(destroy || cx.allow_destroy) {
            admit(&lost, planned.is_cut)?;
        }
        cx.events.point("module planned");
    }
    let mut open: BTreeSet<String> = BTreeSet::new();
    let mut is_planned = !begins;
    let work = runner.work.clone();
    let arguments = ["apply", "-input=false", "-json", if begins { "-auto-approve" } else { PLAN }];
    let applied = runner
        .run(Some(cx), &arguments, &mut |line| {
            let address = line.pointer("/hook/resource/addr").and_then(Value::as_str).unwrap_or_default();
            let address = report::address(address, runner.is_open);
            let reads = line.pointer("/hook/action").and_then(Value::as_str) == Some("read");
            match line.get("type").and_then(Value::as_str) {
                Some("apply_start") if !reads => {
                    if !std::mem::replace(&mut is_planned, true) {
                        cx.events.point("module planned");
                    }
                    open.insert(address);
                    work.under_way(&open);
                    note(cx, id, line, runner.is_open);
                }
                Some("apply_complete" | "apply_errored") if !reads => {
                    open.remove(&address);
                    note(cx, id, line, runner.is_open);
                }
                Some("apply_progress") => note(cx, id, line, runner.is_open),
                _ => {}
            }
        })
        .await?;
    cx.events.point("module applied");
    recover(runner, place).await?;
    if applied.code != 0 {
        // What is still open was cut off; what ended, well or badly, is in the state that was handed over.
        runner.work.under_way(&open);
        let what = if is_planned { "can't be applied" } else { "can't be planned" };
        return Err(failed(what, &report::errors(&applied, runner.is_open), &uncertain));
    }
    runner.work.under_way(&BTreeSet::new());
    Ok(true)
}

/// Tells whether nothing is there that a module could destroy or replace: its state is empty, and it takes over nothing that exists.
/// There is nothing to look for in its plan then, and planning and applying are one process.
async fn has_nothing_to_lose(place: &Place, spec: &ModuleSpec) -> Result<bool, CapabilityError> {
    let holds = |state: Value| state.get("resources").and_then(Value::as_array).is_none_or(|resources| !resources.is_empty());
    if place.read().await?.is_some_and(holds) {
        return Ok(false);
    }
    // A module from elsewhere is not read: it might take something over.
    Ok(module::read(&spec.files).is_ok_and(|module| !module.imports && module.remote.is_empty()))
}

fn note(cx: &EffectCx<'_>, id: &ActionId, line: &Value, is_open: bool) {
    if let Some(message) = report::progress(line, is_open) {
        cx.events.note(id, &message);
    }
}

fn failed(what: &str, why: &str, uncertain: &[String]) -> CapabilityError {
    let error = CapabilityError::new(Kind::Failed, format!("the module {what}: {why}"));
    if uncertain.is_empty() {
        error
    } else {
        error.hint(format!(
            "an earlier run was cut off while it made {}: import it with an `import` block, or remove it",
            uncertain.join(", ")
        ))
    }
}

/// Reads what a line says of a plan: what would be done to which resource.
fn planned_change(line: &Value) -> Option<(&str, &str)> {
    let text = |pointer: &str| line.pointer(pointer).and_then(Value::as_str);
    text("/type").filter(|kind| *kind == "planned_change")?;
    Some((text("/change/action")?, text("/change/resource/addr")?))
}

/// Names what a line of the saved plan says will be destroyed or replaced.
fn doomed(line: &Value) -> Option<&str> {
    let (action, address) = planned_change(line)?;
    matches!(action, "delete" | "replace" | "remove").then_some(address)
}

/// What a plan would destroy or replace: the first of it by name.
#[derive(Debug, Default)]
struct Lost {
    named: Vec<String>,
    count: usize,
}

impl Lost {
    /// More are counted.
    const NAMED_MAX: usize = 20;

    fn take(&mut self, line: &Value, is_open: bool) {
        let Some(address) = doomed(line) else { return };
        self.count += 1;
        if self.named.len() < Self::NAMED_MAX {
            self.named.push(format!("`{}`", report::address(address, is_open)));
        }
    }
}

/// Refuses what nobody allowed to be destroyed or replaced, and a plan of which a part was not heard.
fn admit(lost: &Lost, is_cut: bool) -> Result<(), CapabilityError> {
    if lost.count > 0 {
        let named = lost.named.join(", ");
        let more = lost.count.saturating_sub(lost.named.len());
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        return Err(CapabilityError::new(Kind::Denied, format!("the module would destroy or replace {named}{more}"))
            .hint("see what it says, and deploy with `--allow-destroy` if that is right"));
    }
    if is_cut {
        return Err(CapabilityError::new(
            Kind::Denied,
            "the module's plan has a line of more than 1 MiB: what it destroys can't be looked at",
        )
        .hint("deploy with `--allow-destroy` if it may destroy what it likes"));
    }
    Ok(())
}

/// Reads what a state yields.
pub(crate) fn observed(state: Option<&Value>, spec: &ModuleSpec, program: &str, changed: bool) -> Result<Observed, CapabilityError> {
    let mut observed = Observed { changed, ..Observed::default() };
    let Some(state) = state else { return Ok(observed) };
    let mut outputs = Map::new();
    for (name, declared) in &spec.outputs {
        // The module declares every output that is asked for, and a state leaves out those that are null.
        let value = state.pointer(&format!("/outputs/{}/value", windlass_model::pointer::escape(name))).unwrap_or(&Value::Null);
        let length = value.to_string().len();
        if length > limits::TERRAFORM_OUTPUT_BYTES_MAX {
            let allowed = limits::TERRAFORM_OUTPUT_BYTES_MAX;
            let message = format!("the module's output `{name}` has {length} bytes; {allowed} are allowed");
            return Err(CapabilityError::new(Kind::Failed, message).hint("let the module keep it, and yield where it is"));
        }
        if declared.sensitive {
            let text = match value {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            observed.secret_outputs.insert(name.clone(), Secret::new(text));
        } else {
            outputs.insert(name.clone(), value.clone());
        }
    }
    observed.outputs = outputs;
    observed.handle = json!({ "program": program, "lineage": state.get("lineage"), "serial": serial(state) });
    Ok(observed)
}

/// Lets the program plan, for a look alone.
async fn planned(runner: &Runner<'_>, place: &Place, spec: &ModuleSpec) -> Result<Vec<Value>, CapabilityError> {
    init(runner, None, spec).await?;
    recover(runner, place).await?;
    runner.work.write_variables(spec)?;
    let planned = runner.run(None, &["plan", "-input=false", "-json", "-detailed-exitcode"], &mut |_| {}).await?;
    if planned.code != 0 && planned.code != CHANGES {
        return Err(failed("can't be planned", &report::errors(&planned, runner.is_open), &[]));
    }
    Ok(planned.lines)
}

/// Asks the program what it would set back.
pub(crate) async fn drift(runner: &Runner<'_>, place: &Place, spec: &ModuleSpec) -> Result<Vec<String>, CapabilityError> {
    Ok(drifted(&planned(runner, place, spec).await?, runner.is_open))
}

/// Lists what a plan of unchanged inputs would change. What merely differs from the state (`resource_drift`) without that is
/// nothing that the module says: values that a provider fills in later, and what others own.
fn drifted(planned: &[Value], is_open: bool) -> Vec<String> {
    let changes = planned.iter().filter_map(planned_change);
    let found: BTreeSet<String> = changes.map(|(_, address)| report::address(address, is_open)).collect();
    found.into_iter().collect()
}

/// Asks the program what it would do.
pub(crate) async fn preview(runner: &Runner<'_>, place: &Place, spec: &ModuleSpec) -> Result<Vec<String>, CapabilityError> {
    let lines = planned(runner, place, spec).await?;
    Ok(lines.iter().filter_map(|line| report::planned(line, runner.is_open)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_unheard() {
        let line = |kind: &str, action: &str| json!({ "type": kind, "change": { "resource": { "addr": "aws_s3_bucket.files" }, "action": action } });
        for action in ["delete", "replace", "remove"] {
            assert_eq!(doomed(&line("planned_change", action)), Some("aws_s3_bucket.files"));
        }
        assert_eq!(doomed(&line("planned_change", "update")), None);
        assert_eq!(doomed(&line("resource_drift", "delete")), None, "it is gone already");
        assert!(admit(&Lost::default(), false).is_ok());
        assert!(admit(&Lost::default(), true).unwrap_err().message.contains("can't be looked at"));
        let mut lost = Lost::default();
        for index in 0..23 {
            lost.take(
                &json!({ "type": "planned_change", "change": { "resource": { "addr": format!("x[{index}]") }, "action": "delete" } }),
                true,
            );
        }
        assert!(admit(&lost, true).unwrap_err().message.ends_with("`x[19]` and 3 more"));
    }

    #[test]
    fn an_output_has_a_size() {
        let spec: ModuleSpec = serde_json::from_value(json!({ "files": {}, "outputs": { "x": {} } })).unwrap();
        let yielded = |length: usize| json!({ "outputs": { "x": { "value": "x".repeat(length) } } });
        // Two quotes are around it.
        assert!(observed(Some(&yielded(limits::TERRAFORM_OUTPUT_BYTES_MAX - 2)), &spec, "tofu 1", true).is_ok());
        assert!(observed(Some(&yielded(limits::TERRAFORM_OUTPUT_BYTES_MAX - 1)), &spec, "tofu 1", true).is_err());
    }

    #[test]
    fn drift_is_what_would_be_set_back() {
        let line = |kind: &str, address: &str, action: &str| {
            json!({
                "@level": "info", "@message": format!("{address}: {action}"), "type": kind,
                "change": { "resource": { "addr": address, "resource_type": "aws_iam_user" }, "action": action },
            })
        };
        // The provider `aws` fills tags in when it reads for the first time.
        let filled_in = line("resource_drift", "aws_iam_user.files", "update");
        assert!(drifted(std::slice::from_ref(&filled_in), true).is_empty());
        let gone =
            [line("resource_drift", "aws_s3_bucket.files", "delete"), line("planned_change", "aws_s3_bucket.files", "create"), filled_in];
        assert_eq!(drifted(&gone, true), ["aws_s3_bucket.files"]);
    }
}
