//! The main job on the embedded default, shown step by step.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::place::Place;

/// One step: what is shown, the arguments, whether it must fail.
struct Step {
    title: &'static str,
    arguments: &'static str,
    refused: bool,
}

const fn step(title: &'static str, arguments: &'static str) -> Step {
    Step { title, arguments, refused: false }
}

const STEPS: &[Step] = &[
    step("Everything is checked at once", "validate shop"),
    step("The platform team stores its definitions", "platform apply shop/platform"),
    step(
        "A plan: what would happen, secret-free, with its digest",
        "plan shop -e development --create-env development --image web=ghcr.io/windlass-examples/web:1.0.0",
    ),
    step(
        "The first deployment, into a folder",
        "deploy shop -e development --create-env development --image web=ghcr.io/windlass-examples/web:1.0.0 --yes",
    ),
    step(
        "Another environment of another type: the same model",
        "plan shop -e live --create-env production --image web=ghcr.io/windlass-examples/web:1.0.0",
    ),
    step("CI announces a new image", "deploy shop -e development --image web=ghcr.io/windlass-examples/web:1.1.0 --yes"),
    step(
        "Why is it so?",
        "explain PersistentVolumeClaim/shop-development/postgres-main-db-data#/spec/resources/requests/storage -e development",
    ),
    step("Once more: nothing to do, nothing written", "deploy shop -e development --yes"),
    step("Yesterday's model, definitions and components", "rollback -e development --yes"),
    step("The history", "history -e development"),
    Step {
        title: "Bad input is refused: all errors, their lines, how to mend them",
        arguments: "deploy broken -e development --create-env development --yes",
        refused: true,
    },
];

const BROKEN: &str = "\
apiVersion: score.dev/v1b1
metadata:
  name: web
containers:
  main:
    imgae: nginx:1
    variables:
      PORT: 8080
resources:
  db:
    typ: postgress
";

pub(crate) fn run(place: &Place) -> Result<()> {
    place.cargo(&["build", "--workspace", "--bin", "windlass"])?;
    let folder = place.target.join("demo");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    copy(&place.root.join("examples/shop"), &folder.join("shop"))?;
    fs::create_dir_all(folder.join("broken"))?;
    fs::write(folder.join("broken/score.yaml"), BROKEN)?;
    let binary = place.target.join("debug/windlass");
    for step in STEPS {
        println!("\n\x1b[1m── {}\x1b[0m\n$ windlass {}\n", step.title, step.arguments);
        let status = Command::new(&binary)
            .args(step.arguments.split(' '))
            .current_dir(&folder)
            .env("USER", "demo")
            .status()
            .context("windlass can't be started")?;
        if status.success() == step.refused {
            bail!("`windlass {}` ended with {status}", step.arguments);
        }
    }
    let svg = Command::new(&binary).args(["graph", "-e", "development", "--format", "svg"]).current_dir(&folder).output()?;
    fs::write(folder.join("graph.svg"), &svg.stdout)?;
    println!(
        "\nThe graph: {}\nThe manifests: {}",
        folder.join("graph.svg").display(),
        folder.join(".windlass/manifests/shop/development").display()
    );
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
