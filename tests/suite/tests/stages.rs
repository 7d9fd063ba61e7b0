//! Staged nodes: a driver that must look at what is known only later is asked in the next stage of the same deployment.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure here is the test's")]

use windlass_cluster::SharedServers;
use windlass_suite::{
    aws::{Account, AwsProxy, Verdict, aws_connection},
    aws_scene::NAMED,
    binary::Folder,
    cloud::terraform_connection,
    cluster::Scene,
    kills::points,
};

/// A zone that a module makes, and names below it: `dns-static` must read the domain.
const ZONE: &str = "
apiVersion: windlass.dev/v1alpha1
kind: ResourceType
metadata: { name: zone }
spec: { outputs: { type: object, properties: { domain: { type: string } } } }
---
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: { name: zone }
spec:
  type: zone
  driver: { builtin: terraform-module }
  inputs:
    module:
      main.tf: |
        variable \"name\" { type = string }
        resource \"terraform_data\" \"zone\" { input = \"$${var.name}.example\" }
        output \"domain\" { value = terraform_data.zone.output }
    variables: { name: NAME }
    outputs: { domain: { output: domain } }
  grants: [{ import: windlass:terraform/modules }]
---
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: { name: dns }
spec:
  type: dns
  driver: { builtin: dns-static }
  inputs: { domain: \"${resources.zone.domain}\" }
  resources: { zone: { type: zone } }
";

fn zoned() -> Folder {
    let folder = Folder::new();
    folder.write("app/web.score.yaml", NAMED);
    folder.write("platform/terraform.yaml", &terraform_connection(&SharedServers::find().unwrap().terraform()));
    name(&folder, "first");
    folder
}

fn name(folder: &Folder, name: &str) {
    folder.write("platform/zone.yaml", &ZONE.replace("NAME", name));
    folder.ok("platform apply platform");
}

fn url(folder: &Folder) -> String {
    let files = folder.files(".windlass/manifests");
    let manifest = &files.iter().find(|(name, _)| name.ends_with("deployment.apps-web.yaml")).unwrap().1;
    manifest.lines().find_map(|line| line.trim().strip_prefix("value: ")).unwrap().to_owned()
}

const FIRST: &str = "deploy app -e dev --create-env development --yes";
const NEXT: &str = "deploy app -e dev --yes";

#[test]
fn what_is_known_later_is_looked_at_later() {
    let folder = zoned();
    let plan = folder.ok("plan app -e dev --create-env development");
    insta::assert_snapshot!("plan", windlass_suite::binary::masked(&plan.out));
    let refused = folder.run("plan app -e dev --create-env development --complete");
    assert_eq!(refused.code, 65, "{}", refused.err);
    insta::assert_snapshot!("refused", refused.err);

    let done = folder.ok(FIRST);
    assert!(done.err.contains("A stage of deployment 1 is ready"), "{}", done.err);
    insta::assert_snapshot!("next stage", windlass_suite::binary::masked(done.out.split_once("\nPlan ").unwrap().1));
    assert_eq!(url(&folder), "https://web-dns-app-dev.first.example");
    let history: serde_json::Value = serde_json::from_str(&folder.ok("history -e dev -o json").out).unwrap();
    assert_eq!(history.as_array().unwrap().len(), 1, "both stages are one deployment");
    assert!(folder.ok("events 1 -e dev").out.contains("planned the next stage"));

    // Known by now: one stage, nothing to do, and no driver is asked.
    let again = folder.run_with("plan app -e dev --detailed-exitcode --complete", &[("WINDLASS_COUNT_CALLS", "1")]);
    assert_eq!(again.code, 0, "{}", again.out);
    assert!(again.err.contains("driver calls: 0"), "{}", again.err);

    // The action that yields it changes: its value is not known again.
    name(&folder, "second");
    assert_eq!(folder.run("plan app -e dev --complete").code, 65);
    folder.ok(NEXT);
    assert_eq!(url(&folder), "https://web-dns-app-dev.second.example");
    folder.ok("rollback -e dev --yes");
    assert_eq!(url(&folder), "https://web-dns-app-dev.first.example");
    folder.ok("destroy -e dev --yes");
    assert!(folder.files(".windlass/manifests").is_empty());
}

#[test]
fn a_plan_file_is_followed_by_what_it_leads_to() {
    let folder = zoned();
    folder.ok("plan app -e dev --create-env development --out first.plan");
    folder.ok("deploy first.plan -e dev --yes");
    assert_eq!(url(&folder), "https://web-dns-app-dev.first.example");
    assert_eq!(folder.run("plan app -e dev --detailed-exitcode").code, 0);
}

#[test]
fn what_can_t_be_planned_in_the_second_stage_ends_the_deployment() {
    let folder = zoned();
    // The module yields a list, the driver wants text.
    folder.write("platform/zone.yaml", &ZONE.replace("NAME", "first").replace("value = terraform_data.zone.output", "value = [1, 2]"));
    folder.ok("platform apply platform");
    let failed = folder.run(FIRST);
    assert_eq!(failed.code, 65, "{}{}", failed.out, failed.err);
    assert!(failed.err.contains("/spec/inputs/domain"), "{}", failed.err);
    assert!(folder.ok("history -e dev").out.contains("failed"));
    name(&folder, "first");
    folder.ok(NEXT);
    assert_eq!(url(&folder), "https://web-dns-app-dev.first.example");
}

#[test]
fn fields_of_what_is_known_later() {
    let folder = zoned();
    // The module yields a map; one name of it stands in a plain field, one in a variable.
    let mapped = ZONE
        .replace(
            "output \"domain\" { value = terraform_data.zone.output }",
            "output \"zone\" { value = { names = [terraform_data.zone.output] } }",
        )
        .replace("domain: { output: domain }", "zone: { output: zone }")
        .replace("domain: { type: string }", "zone: { type: object }")
        .replace("NAME", "mapped");
    let asked = |field: &str| {
        folder.write("platform/zone.yaml", &mapped.replace("resources.zone.domain", &format!("resources.zone.zone.names.{field}")));
        folder.ok("platform apply platform");
    };
    asked("0");
    let variables = "variables: { URL: \"${resources.dns.url}\", FIRST: \"at ${resources.zone.zone.names.0}\" }";
    let web = NAMED.replace("variables: { URL: \"${resources.dns.url}\" }", variables) + "  zone: { type: zone }\n";
    folder.write("app/web.score.yaml", &web);
    folder.ok(FIRST);
    let files = folder.files(".windlass/manifests");
    let manifest = |end: &str| files.iter().find(|(name, _)| name.ends_with(end)).unwrap().1.clone();
    let (values, deployment) = (manifest("configmap-web-files.yaml"), manifest("deployment.apps-web.yaml"));
    assert!(values.contains("main.env.FIRST: at mapped.example"), "{values}");
    assert!(deployment.contains("value: https://web-dns-app-dev.mapped.example"), "{deployment}");
    assert!(folder.ok(NEXT).err.contains("nothing was written"));
    // What turns out not to be there is told, with what was asked for.
    asked("7");
    let failed = folder.run(NEXT);
    assert!(failed.code != 0 && failed.err.contains("has no field `/names/7`"), "{}", failed.err);
    asked("0");
    folder.ok(NEXT);
}

/// A module that names the namespace: what it yields is the namespace itself, or the name of one that is made.
fn namespaced(driver: &str) -> String {
    let zone = ZONE.split("---").take(2).collect::<Vec<_>>().join("---");
    format!(
        "{zone}---\napiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: {{ name: namespace }}\nspec:\n  type: k8s-namespace\n{driver}"
    )
}

#[test]
fn a_namespace_may_be_known_later() {
    let made = "  driver: { builtin: kubernetes-namespace }
  inputs: { name: \"team-${resources.zone.domain}\" }
  resources: { zone: { type: zone } }
  grants: [{ import: windlass:kubernetes/objects, kinds: [v1/Namespace], allow: [clusterScoped] }]
";
    let found = "  driver: { builtin: terraform-module }
  inputs:
    module: { main.tf: \"output \\\"name\\\" { value = timestamp() == \\\"\\\" ? \\\"\\\" : \\\"team-NAME-example\\\" }\" }
    outputs: { namespace: { output: name }, name: { output: name } }
  grants: [{ import: windlass:terraform/modules }]
";
    for driver in [made, found] {
        let folder = zoned();
        folder.write("app/web.score.yaml", "apiVersion: score.dev/v1b1\nmetadata: { name: web }\ncontainers: { main: { image: \"web:1\", variables: { CACHE: \"${resources.cache.host}\" } } }\nresources: { cache: { type: redis } }\n");
        let apply = |name: &str| {
            folder.write(
                "platform/zone.yaml",
                &namespaced(driver).replace("$${var.name}.example", "$${var.name}-example").replace("NAME", name),
            );
            folder.ok("platform apply platform");
        };
        let namespaces = || -> Vec<String> {
            let files = folder.files(".windlass/manifests/app/dev");
            let mut found: Vec<String> = files
                .keys()
                .filter_map(|file| Some(file.split_once('/')?.0.to_owned()))
                .filter(|name| !name.starts_with(['_', '.']))
                .collect();
            found.dedup();
            found
        };
        apply("first");
        let refused = folder.run("plan app -e dev --create-env development --complete");
        assert!(refused.code == 65 && refused.err.contains("needs `/context/namespace`"), "{}", refused.err);
        folder.ok(FIRST);
        assert_eq!(namespaces(), ["team-first-example"]);
        assert!(folder.files(".windlass/manifests").values().any(|text| text.contains("redis-web-cache.team-first-example.svc")));
        assert!(folder.ok(NEXT).err.contains("nothing was written"));
        // Another name: everything moves.
        apply("second");
        folder.ok(&format!("{NEXT} --allow-destroy"));
        assert_eq!(namespaces(), ["team-second-example"]);
        let left: Vec<String> = folder.files(".windlass/manifests").into_keys().filter(|file| file.contains("first")).collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(folder.run("plan app -e dev --detailed-exitcode --complete").code, 0);
        folder.ok("destroy -e dev --yes");
        assert!(folder.files(".windlass/manifests").is_empty());
    }
}

#[test]
fn what_the_world_yields_is_never_taken_for_a_token() {
    let folder = zoned();
    let forged = ZONE.replace("NAME", "first").replace("value = terraform_data.zone.output", "value = \"\\uFDD0sj0\\uFDD1.example\"");
    folder.write("platform/zone.yaml", &forged);
    folder.ok("platform apply platform");
    let failed = folder.run(FIRST);
    assert_eq!(failed.code, 65, "{}{}", failed.out, failed.err);
    assert!(failed.err.contains("holds characters that are reserved"), "{}", failed.err);
}

#[test]
fn killed_at_every_point_of_both_stages() {
    let total = points(&zoned(), FIRST);
    // Two beginnings, two effects, one commit between them and one at the end: two points each.
    assert!(total >= 12, "{total} points");
    for at in 1..=total {
        let folder = zoned();
        let killed = folder.run_with(FIRST, &[("WINDLASS_KILL_AT", &at.to_string())]);
        assert_eq!(killed.code, -1, "killed at {at}: {}", killed.err);
        // Nothing is under way before the first record: then there is only `deploy`.
        let resumed = folder.run("resume -e dev --yes");
        let then = if resumed.code == 0 { resumed } else { folder.run(FIRST) };
        assert_eq!(then.code, 0, "killed at {at}: {}{}", then.out, then.err);
        assert_eq!(url(&folder), "https://web-dns-app-dev.first.example", "killed at {at}");
        let plan = folder.run("plan app -e dev --detailed-exitcode --complete");
        assert_eq!(plan.code, 0, "killed at {at}: {}{}", plan.out, plan.err);
    }
}

/// The address of a load balancer: a name or a number, and the record's type follows from it.
const BALANCER: &str = "
apiVersion: windlass.dev/v1alpha1
kind: ResourceType
metadata: { name: endpoint }
spec: { outputs: { type: object, properties: { address: { type: string } } } }
---
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: { name: balancer }
spec:
  type: endpoint
  driver: { builtin: template }
  grants: [{ import: windlass:kubernetes/objects, kinds: [v1/Service], allow: [externalAddresses] }, { import: windlass:secrets/generated }]
  inputs:
    manifests:
      balancer:
        apiVersion: v1
        kind: Service
        metadata: { name: balancer }
        spec: { type: LoadBalancer, selector: { a: b }, ports: [{ name: http, port: 80 }] }
    outputs: { address: \"{{ field('balancer', '/status/loadBalancer/ingress/0/hostname') }}\" }
---
apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: { name: dns }
spec:
  type: dns
  driver: { builtin: dns-route53 }
  inputs: { domain: staged.example.com, destination: \"${resources.balancer.address}\" }
  resources: { balancer: { type: endpoint } }
  grants: [{ import: windlass:aws/route53 }]
";

#[test]
fn a_record_is_of_the_type_that_the_address_turns_out_to_need() {
    let endpoint = SharedServers::find().unwrap().aws_endpoint();
    let proxy = AwsProxy::start(&endpoint, |_, _| Verdict::Pass);
    let account = Account::open(&endpoint);
    let zone = account.zone("staged.example.com");
    let scene = Scene::new("staged");
    scene.folder.write("app/web.score.yaml", NAMED);
    scene.folder.write("platform/aws.yaml", &aws_connection(&proxy.endpoint()));
    scene.folder.write("platform/definition.yaml", BALANCER);
    scene.folder.ok("platform apply platform");
    let mut child = scene.folder.spawn(FIRST);
    let address = r#"{"status":{"loadBalancer":{"ingress":[{"hostname":"lb.example.net"}]}}}"#;
    scene.wait_for(&["patch", "service/balancer", "--subresource=status", "--type=merge", "-p", address]);
    assert!(child.wait().unwrap().success(), "{}", scene.folder.ok("events 1 -e dev").out);
    let records = account.records(&zone);
    assert!(records.iter().any(|record| record.contains("CNAME") && record.contains("lb.example.net")), "{records:?}");
    let url = scene.get("deployment/web")["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"].clone();
    assert!(url.as_str().unwrap().ends_with(".staged.example.com"), "{url}");
    assert_eq!(scene.folder.run("plan app -e dev --detailed-exitcode --complete").code, 0);
    scene.folder.ok("destroy -e dev --yes");
    assert!(!account.records(&zone).iter().any(|record| record.contains("lb.example.net")));
}
