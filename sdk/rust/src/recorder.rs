//! What stands behind the handles where there is no Wasm: a recorder of this thread.

use std::cell::RefCell;

/// Records what a driver stages. The host has one; tests have another.
pub trait Recorder {
    /// Records an action and returns its handle.
    fn construct(&mut self, interface: &str, resource: &str, name: &str, spec: &str) -> u32;
    /// Calls a method of a handle that yields a value.
    fn method(&mut self, handle: u32, method: &str, argument: Option<&str>) -> String;
    /// Orders a handle's action behind another.
    fn after(&mut self, handle: u32, action: &str);
    /// Calls a function of `windlass:driver/sealed`.
    fn sealed(&mut self, function: &str, values: &[&str], number: Option<u8>) -> String;
}

thread_local! {
    static RECORDER: RefCell<Option<Box<dyn Recorder>>> = const { RefCell::new(None) };
}

/// Runs a function with a recorder and gives the recorder back.
pub fn scope<R>(recorder: Box<dyn Recorder>, run: impl FnOnce() -> R) -> (R, Option<Box<dyn Recorder>>) {
    let before = RECORDER.replace(Some(recorder));
    let result = run();
    (result, RECORDER.replace(before))
}

/// Uses this thread's recorder.
///
/// # Panics
///
/// Outside of [`scope`]: a handle was made where no driver runs.
pub(crate) fn with<R>(run: impl FnOnce(&mut dyn Recorder) -> R) -> R {
    RECORDER.with_borrow_mut(|recorder| match recorder {
        Some(recorder) => run(recorder.as_mut()),
        None => unreachable!("handles and sealed functions need `harness::define` or `harness::render` around them"),
    })
}
