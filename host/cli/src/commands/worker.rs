//! `plan-worker` and `admit-component`: pure functions of standard input, in processes that own nothing.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use windlass_engine::{PlanInput, plan};
use windlass_runtime::{AddressSpace, HostSettings, WasmHost};
use windlass_source::Components;

use crate::{
    exit::{Code, Failure},
    planning::planners,
};

/// What comes in: the input and the components that it names, in base64.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    input: PlanInput,
    components: BTreeMap<String, String>,
}

/// Admits one component: reads it from standard input, writes what is known of it and its machine code to standard output.
pub(crate) fn admit(scarce: bool) -> Result<Code, Failure> {
    let address_space = if scarce { AddressSpace::Scarce } else { AddressSpace::Ample };
    windlass_runtime::serve_admission(&planners(), address_space, std::io::stdin().lock(), std::io::stdout().lock())?;
    Ok(Code::Done)
}

pub(crate) fn run() -> Result<Code, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    let request: Request = serde_json::from_slice(&bytes).map_err(|error| Failure::new(Code::BadInput, error.to_string()))?;
    let components = Arc::new(Components::default());
    for (name, text) in &request.components {
        components.add(name, STANDARD.decode(text).map_err(|error| Failure::new(Code::BadInput, error.to_string()))?.into());
    }
    let planners = planners();
    let host = WasmHost::new(&HostSettings { parallelism: 2, ..HostSettings::default() }, &planners, components);
    let output = plan(&request.input, &planners, &host);
    let bytes = windlass_model::canonical::to_vec(&output).map_err(Failure::failed)?;
    std::io::stdout().write_all(&bytes)?;
    Ok(Code::Done)
}
