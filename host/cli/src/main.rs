//! The `windlass` binary: composition root, commands, output.

mod arguments;
mod builtin;
mod changes;
mod commands;
mod excerpt;
mod exit;
mod failpoint;
mod observer;
mod page;
mod picture;
mod plan_file;
mod planning;
mod print;
mod protect;
mod workspace;

use std::process::ExitCode;

use clap::Parser as _;

/// Plans are many small strings and maps.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = match arguments::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { exit::Code::Usage } else { exit::Code::Done };
            let _ = error.print();
            return code.into();
        }
    };
    print::setup(arguments.global.color);
    if let Err(error) = protect::memory() {
        print::error(&format!("core dumps of this process cannot be switched off: {error}"), None);
        return exit::Code::Failed.into();
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            print::error(&format!("the runtime can't start: {error}"), None);
            return exit::Code::Failed.into();
        }
    };
    match runtime.block_on(commands::run(arguments)) {
        Ok(code) => code.into(),
        Err(failure) => {
            failure.print();
            failure.code.into()
        }
    }
}
