//! `init`: a working application and platform, or one more workload.

use std::{fs, path::Path};

use windlass_model::name::WorkloadName;

use crate::{
    exit::{Code, Failure},
    page::Page,
    print,
};

const APPLICATION: &str = "\
# What is deployed, and how it varies between environments. Everything here is free of any environment.
apiVersion: windlass.dev/v1alpha1
kind: Application
metadata:
  name: NAME
spec:
  # Score files beside this document; all of them if this is left out.
  workloads: [./*.score.yaml]
  # Resources of the whole application; workloads name them by `id`.
  resources:
    main-db:
      type: postgres
  # What is different where; all matching entries apply, later ones win.
  environments:
    - match: { environmentType: development }
      values: { GREETING: Hello from development }
    - match: { environmentType: production }
      values: { GREETING: Welcome }
";

const WEB: &str = "\
# A workload: the Score specification, https://docs.score.dev
apiVersion: score.dev/v1b1
metadata:
  name: web
service:
  ports:
    http: { port: 80, targetPort: 8080 }
containers:
  main:
    image: docker.io/nginxinc/nginx-unprivileged:1.29
    variables:
      GREETING: ${resources.env.GREETING}
      DATABASE_URL: postgres://${resources.db.username}:${resources.db.password}@${resources.db.host}:${resources.db.port}/${resources.db.name}
    readinessProbe:
      httpGet: { path: /, port: 8080 }
    resources:
      requests: { cpu: 50m, memory: 64Mi }
resources:
  # Values of the environment, and secrets given with `windlass secret set`.
  env:
    type: environment
  # Shared: the Application document names it too.
  db:
    type: postgres
    id: main-db
  # Private to this workload.
  dns:
    type: dns
  route:
    type: route
    params:
      host: ${resources.dns.host}
      path: /
      port: 80
";

const PLATFORM: &str = "\
# What the platform team decides: how `dns` is made in development. Apply it with
# `windlass platform apply platform`, or try it with `--platform platform`.
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata:
  name: dns-development
spec:
  type: dns
  driver: { builtin: dns-static }
  match: [{ environmentType: development }]
  inputs: { domain: dev.example.com, scheme: https }
";

/// Parameters and variables that a new workload gets with a resource.
const KNOWN: [(&str, &[&str]); 9] = [
    ("postgres", &["host", "port", "name", "username", "password"]),
    ("mysql", &["host", "port", "name", "username", "password"]),
    ("mongodb", &["connection"]),
    ("redis", &["host", "port", "password"]),
    ("amqp", &["host", "port", "vhost", "username", "password"]),
    ("s3", &["endpoint", "region", "bucket", "access_key_id", "secret_key"]),
    ("dns", &["host"]),
    ("environment", &[]),
    ("volume", &[]),
];

pub(crate) fn init(folder: &Path, workload: Option<&WorkloadName>, with: &[String]) -> Result<Code, Failure> {
    fs::create_dir_all(folder)?;
    if let Some(workload) = workload {
        let text = workload_text(workload, with)?;
        write(&folder.join(format!("{workload}.score.yaml")), &text)?;
        return Ok(Code::Done);
    }
    let name = folder.canonicalize()?.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let name = name.parse::<windlass_model::name::ApplicationName>().map_or_else(|_| "app".to_owned(), |name| name.to_string());
    write(&folder.join("application.yaml"), &APPLICATION.replace("NAME", &name))?;
    write(&folder.join("web.score.yaml"), WEB)?;
    fs::create_dir_all(folder.join("platform"))?;
    write(&folder.join("platform/dns.yaml"), PLATFORM)?;
    let mut next = Page::default();
    next.blank();
    next.line("Now:");
    next.line(format_args!("  windlass deploy {} -e dev --create-env development", folder.display()));
    next.tell();
    Ok(Code::Done)
}

/// Writes a file that does not exist yet: nothing of anybody's is overwritten.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::new(Code::BadInput, format!("{} exists already", path.display()))
            .hint("choose another folder, or `--workload NAME` for one more workload"),
        _ => Failure::failed(format!("{} can't be written: {error}", path.display())),
    })?;
    file.write_all(text.as_bytes())?;
    print::note(&format!("wrote {}", path.display()));
    Ok(())
}

fn workload_text(workload: &WorkloadName, with: &[String]) -> Result<String, Failure> {
    let mut variables = String::new();
    let mut resources = String::new();
    let mut volumes = String::new();
    for kind in with {
        if kind == "route" {
            if !with.iter().any(|other| other == "dns") {
                return Err(Failure::usage("a route needs a name").hint("say `--with dns,route`"));
            }
            resources.push_str("  route:\n    type: route\n    params: { host: \"${resources.dns.host}\", path: /, port: 80 }\n");
            continue;
        }
        let Some((_, outputs)) = KNOWN.iter().find(|(known, _)| known == kind) else {
            let known: Vec<&str> = KNOWN.iter().map(|(known, _)| *known).chain(["route"]).collect();
            let failure = Failure::usage(format!("there is no standard resource `{kind}`"));
            let near = windlass_model::did_you_mean(kind, known.iter().copied());
            return Err(failure.hint(near.unwrap_or_else(|| format!("known: {}", known.join(", ")))));
        };
        resources.push_str(&format!("  {kind}:\n    type: {kind}\n"));
        for output in *outputs {
            variables.push_str(&format!("      {}_{}: ${{resources.{kind}.{output}}}\n", kind.to_uppercase(), output.to_uppercase()));
        }
        if kind == "volume" {
            volumes.push_str("    volumes:\n      /data: { source: \"${resources.volume}\" }\n");
        }
    }
    let section = |name: &str, text: &str| if text.is_empty() { String::new() } else { format!("{name}:\n{text}") };
    Ok(format!(
        "apiVersion: score.dev/v1b1\nmetadata:\n  name: {workload}\nservice:\n  ports:\n    http: {{ port: 80, targetPort: 8080 }}\ncontainers:\n  main:\n    image: .  # filled by --image {workload}=REF\n{}{volumes}{}",
        section("    variables", &variables),
        section("resources", &resources)
    ))
}
