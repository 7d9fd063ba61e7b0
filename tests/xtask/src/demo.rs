//! The main job on the embedded default, shown step by step.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use windlass_cluster::{Cluster, SCENES};

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
    let show = Show { binary: binary.clone(), folder: folder.clone(), kubeconfig: None };
    for step in STEPS {
        show.step(step)?;
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

/// Runs the main job on a cluster: the one of the tests, or the one that KUBECONFIG names.
pub(crate) fn run_on_cluster(place: &Place, own: Option<&Cluster>) -> Result<()> {
    place.cargo(&["build", "--workspace", "--bin", "windlass"])?;
    let folder = place.target.join("demo-cluster");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let kubeconfig = match own {
        Some(cluster) => cluster.folder().join("kubeconfig"),
        None => PathBuf::from(std::env::var_os("KUBECONFIG").context("KUBECONFIG is not set")?),
    };
    let show = Show { binary: place.target.join("debug/windlass"), folder: folder.clone(), kubeconfig: Some(kubeconfig) };
    show.step(&step("An application and a platform to begin with", "init shop"))?;
    let connection = fs::read_to_string(place.root.join("examples/cluster/connection.yaml"))?;
    fs::write(folder.join("shop/platform/cluster.yaml"), &connection)?;
    if own.is_some() {
        fs::write(folder.join("shop/platform/scenes.yaml"), SCENES)?;
    }
    println!("\n\x1b[1m── Development goes to a cluster\x1b[0m\n$ cat shop/platform/cluster.yaml\n\n{connection}");
    for step in ON_CLUSTER {
        show.step(step)?;
    }
    if let Some(cluster) = own {
        println!("\n\x1b[1m── Somebody changes something by hand\x1b[0m\n$ kubectl -n shop-dev set image deployment/web main=evil:1\n");
        print!("{}", cluster.shared().kubectl(&["-n", "shop-dev", "set", "image", "deployment/web", "main=evil:1"], None)?);
        show.step(&step("What is not as it was left, and who changed it", "drift -e dev"))?;
        show.step(&step("Set back", "deploy shop -e dev --yes"))?;
        let path = folder.join("shop/web.score.yaml");
        let broken =
            fs::read_to_string(&path)?.replace("  name: web\n", "  name: web\n  annotations: { windlass.test/scene: image-pull-error }\n");
        fs::write(&path, broken)?;
        show.step(&Step {
            title: "An image that nobody can pull: told at once, with the reason",
            arguments: "deploy shop -e dev --yes",
            refused: true,
        })?;
        show.step(&step("Back to what worked", "rollback -e dev --yes"))?;
    }
    show.step(&step("Take everything away", "destroy -e dev --yes"))
}

const ON_CLUSTER: &[Step] = &[
    step("The platform team stores its definitions", "platform apply shop/platform"),
    step("The first deployment: applied, and waited for", "deploy shop -e dev --create-env development --yes"),
    step("Once more: nothing to do, nothing sent", "deploy shop -e dev --yes"),
    step("Why is it so?", "explain apps/Deployment/shop-dev/web#/spec/template/spec/containers/0/image -e dev"),
];

/// Where steps run.
struct Show {
    binary: PathBuf,
    folder: PathBuf,
    kubeconfig: Option<PathBuf>,
}

impl Show {
    fn step(&self, step: &Step) -> Result<()> {
        println!("\n\x1b[1m── {}\x1b[0m\n$ windlass {}\n", step.title, step.arguments);
        let mut command = Command::new(&self.binary);
        command.args(step.arguments.split(' ')).current_dir(&self.folder).env("USER", "demo");
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        let status = command.status().context("windlass can't be started")?;
        if status.success() == step.refused {
            bail!("`windlass {}` ended with {status}", step.arguments);
        }
        Ok(())
    }
}

pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
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
