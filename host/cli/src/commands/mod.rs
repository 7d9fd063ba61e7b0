//! The commands.

mod adopt;
mod apply;
mod documents;
mod drift;
mod driver;
mod environment;
mod explain;
mod init;
mod inspect;
mod lifecycle;
mod plan;
mod platform;
mod platform_diff;
mod render;
mod rotate;
mod secret;
mod stages;
mod turn;
mod validate;
mod worker;

use clap::CommandFactory as _;

use crate::{
    arguments::{Applying, Arguments, Command, Driver, Env, Platform},
    exit::{Code, Failure},
};

/// Runs a command.
pub(crate) async fn run(arguments: Arguments) -> Result<Code, Failure> {
    let global = arguments.global;
    match arguments.command {
        Command::Init { dir, workload, with } => init::init(&dir, workload.as_ref(), &with),
        Command::Validate { paths, platform, env, r#type, app } => {
            validate::validate(&global, &validate::Options { paths, platform, environment: env, environment_type: r#type, app }).await
        }
        Command::Schema { kind } => documents::schema(&kind),
        Command::Render { paths, output, env, r#type, namespace, generate_namespace, with_secrets, app, application } => render::render(
            &render::Render { paths, output, environment: env, environment_type: r#type, namespace, generate_namespace, with_secrets, app },
            &application,
        ),
        Command::Platform(Platform::Apply { dir }) => platform::apply(&global, &dir).await,
        Command::Platform(Platform::List { output }) => platform::list(&global, output.output).await,
        Command::Platform(Platform::Show { name, output }) => platform::show(&global, &name, output.output).await,
        Command::Platform(Platform::Diff { dir, env, output, detailed_exitcode }) => {
            platform_diff::diff(&global, &dir, &env, output.output, detailed_exitcode).await
        }
        Command::Env(Env::Create { name, r#type, app }) => environment::create(&global, &name, &r#type, app.as_ref()).await,
        Command::Env(Env::Rm { environment, yes }) => environment::remove(&global, &environment, yes).await,
        Command::Env(Env::List { output }) => environment::list(&global, output.output).await,
        Command::Env(Env::Show { environment, output }) => environment::show(&global, &environment, output.output).await,
        Command::Plan { path, planning, output, out, destroy, refresh, preview, detailed_exitcode } => {
            plan::plan(
                &global,
                path.as_deref(),
                &planning,
                output.output,
                &plan::Options { out, destroy, refresh, preview, detailed_exitcode },
            )
            .await
        }
        Command::Deploy { path, planning, applying, refresh, output } => {
            apply::deploy(&global, &path, &planning, &Applying { refresh, ..applying }, output.output).await
        }
        Command::Drift { environment, output, detailed_exitcode } => {
            drift::drift(&global, &environment, output.output, detailed_exitcode).await
        }
        Command::Resume { environment, applying } => apply::resume(&global, &environment, &applying).await,
        Command::Status { environment, output } => inspect::status(&global, &environment, output.output).await,
        Command::History { environment, output } => inspect::history(&global, &environment, output.output).await,
        Command::Events { deployment, environment, output, follow } => {
            inspect::events(&global, &environment, deployment, output.output, follow).await
        }
        Command::Graph { path, environment, application, r#type, format } => {
            inspect::graph(&global, path.as_deref(), &environment, &application, r#type.as_ref(), format).await
        }
        Command::Explain { object, environment, output } => explain::explain(&global, &object, &environment, output.output).await,
        Command::Rollback { deployment, environment, applying } => apply::rollback(&global, &environment, deployment, &applying).await,
        Command::Destroy { environment, applying } => apply::destroy(&global, &environment, &applying).await,
        Command::Rotate { resource, environment, applying } => rotate::rotate(&global, &resource, &environment, &applying).await,
        Command::Adopt { pairs, all, path, planning, applying } => {
            adopt::adopt(&global, &pairs, all, path.as_deref(), &planning, &applying).await
        }
        Command::Release { resource, environment } => lifecycle::release(&global, &resource, &environment).await,
        Command::Deletable { resource, environment, output } => {
            lifecycle::deletable(&global, resource.as_deref(), &environment, output.output).await
        }
        Command::Secret(command) => secret::run(&global, &command).await,
        Command::Driver(Driver::Inspect { file, output }) => driver::inspect(&file, output.output),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "windlass", &mut std::io::stdout());
            Ok(Code::Done)
        }
        Command::Man { dir } => {
            std::fs::create_dir_all(&dir)?;
            clap_mangen::generate_to(Arguments::command(), &dir)?;
            Ok(Code::Done)
        }
        Command::PlanWorker => worker::run(),
        Command::Confined { request, command } => Err(Failure::failed(windlass_capability_terraform::become_program(&request, &command))),
        Command::AdmitComponent { scarce } => worker::admit(scarce),
    }
}

/// Reads the address of a resource or workload.
pub(crate) fn node(text: &str) -> Result<windlass_model::NodeKey, Failure> {
    text.parse().map_err(|error| Failure::usage(format!("{error}")).hint("as in `postgres#web.db`; `windlass graph` shows the names"))
}
