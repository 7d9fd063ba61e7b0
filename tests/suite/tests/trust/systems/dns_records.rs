//! Records of Route 53: a driver writes none that says whose another is, and none that its grant does not list.

use windlass_cluster::SharedServers;
use windlass_suite::{
    aws::{Account, AwsProxy, Verdict, aws_connection},
    binary::{Folder, Ran, application_document, components},
};

const WEB: &str = "
apiVersion: score.dev/v1b1
metadata: { name: web }
containers: { main: { image: web:1 } }
resources: { probe: { type: probe } }
";

/// A folder in which a definition with a grant stages one record of its inputs.
fn folder(connection: &str, inputs: &str, grant: &str) -> Folder {
    let folder = Folder::new();
    folder.write("app/web.score.yaml", WEB);
    folder.write("app/application.yaml", &application_document(&format!("records{}", std::process::id())));
    folder.write("platform/aws.yaml", connection);
    folder.write(
        "platform/probe.yaml",
        &format!(
            "apiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: {{ name: probe }}\nspec:\n  type: probe\n  driver: {{ file: {} }}\n  inputs: {{ {inputs} }}\n  grants: [{{ import: windlass:aws/route53{grant} }}]\n---\napiVersion: windlass.dev/v1alpha1\nkind: ResourceType\nmetadata: {{ name: probe }}\nspec: {{ outputs: {{ type: object }} }}\n",
            components().join("guests/dns-record.wasm").display()
        ),
    );
    folder.ok("platform apply platform");
    folder
}

fn planned(inputs: &str, grant: &str) -> Ran {
    folder(&aws_connection("http://127.0.0.1:9"), inputs, grant).run("plan app -e dev --create-env development")
}

#[test]
fn a_record_outside_the_domain_of_the_definition_is_refused_while_planning() {
    for (name, kind, value) in [
        ("example.com", "A", "203.0.113.66"),
        ("*.example.com", "A", "203.0.113.66"),
        ("*.dev.example.com", "A", "203.0.113.66"),
        ("dev.example.com", "A", "203.0.113.66"),
        ("_acme-challenge.bank.dev.example.com", "TXT", "token"),
        ("_dmarc.dev.example.com", "TXT", "v=DMARC1; p=none"),
        ("shop.dev.example.com", "CAA", "0 issue \\\"ca.example\\\""),
        ("shop.dev.example.com", "MX", "10 mail.example.net"),
        ("WWW.Example.com.", "CNAME", "lb.example.net"),
    ] {
        let ran = planned(&format!("domain: dev.example.com, name: \"{name}\", type: {kind}, value: \"{value}\""), "");
        assert!(ran.code != 0 && ran.err.contains("is not permitted"), "{name} {kind}: {}{}", ran.out, ran.err);
    }
    let own = "domain: dev.example.com, name: shop.dev.example.com, type: A, value: 192.0.2.1";
    assert_eq!(planned(own, "").code, 0);
    let wild = "domain: dev.example.com, name: \"*.dev.example.com\", type: A, value: 192.0.2.1";
    assert_eq!(planned(wild, ", records: [\"*.dev.example.com\"]").code, 0);
}

#[test]
fn a_domain_that_the_resource_decides_is_none() {
    let inputs = "domain: \"${context.resource.id}\", name: www.web.probe, type: A, value: 192.0.2.1";
    let ran = planned(inputs, "");
    assert!(ran.code != 0 && ran.err.contains("inputs no `domain`"), "{}{}", ran.out, ran.err);
}

#[test]
fn an_ownership_record_of_a_driver_is_refused_while_planning() {
    for (name, value) in [
        ("a-www.example.com", "x"),
        ("www.example.com", "heritage=windlass,windlass/owner=x"),
        ("www.example.com", "\\\"heri\\\" \\\"tage=windlass\\\""),
        ("www.example.com", "\\\"HERITAGE\\\\075external-dns\\\""),
    ] {
        let ran = planned(&format!("name: \"{name}\", type: TXT, value: \"{value}\""), ", records: [\"*.example.com\"]");
        assert!(ran.code != 0 && ran.err.contains("a record that says whose another is"), "{name}: {}{}", ran.out, ran.err);
    }
}

#[test]
fn a_record_beside_one_of_others_takes_none_of_its_traffic() {
    let endpoint = SharedServers::find().unwrap().aws_endpoint();
    let account = Account::open(&endpoint);
    let domain = format!("beside{}.example.com", std::process::id());
    let zone = account.zone(&domain);
    account.write_record(&zone, &format!("www.{domain}"), "A", "203.0.113.9");
    let inputs = format!("domain: {domain}, name: www.{domain}, type: AAAA, value: \"2001:db8::1\"");
    let folder = folder(&aws_connection(&endpoint), &inputs, "");
    let ran = folder.run("deploy app -e dev --create-env development --yes");
    assert!(ran.code == 1 && ran.err.contains(&format!("the record `www.{domain}` A exists")), "{}", ran.err);
    assert_eq!(account.records(&zone), [format!("www.{domain} A 203.0.113.9")]);
}

#[test]
fn a_connection_writes_to_the_zones_that_it_lists() {
    let endpoint = SharedServers::find().unwrap().aws_endpoint();
    let account = Account::open(&endpoint);
    let domain = format!("zones{}.example.com", std::process::id());
    let zone = account.zone(&domain);
    let listing = |zones: &str| aws_connection(&endpoint).replace("endpoint:", &format!("zones: [{zones}], endpoint:"));
    let inputs = format!("domain: {domain}, name: www.{domain}, type: A, value: 192.0.2.1");
    let other = folder(&listing("other.example.com"), &inputs, "");
    let ran = other.run("deploy app -e dev --create-env development --yes");
    assert!(ran.code == 1 && ran.err.contains("no hosted zone of the connection holds"), "{}", ran.err);
    for zones in [&zone, &domain] {
        let own = folder(&listing(zones), &inputs, "");
        own.ok("deploy app -e dev --create-env development --yes");
        own.ok("destroy -e dev --yes --allow-destroy");
    }
}

#[test]
fn a_listing_that_repeats_itself_ends() {
    let endless = "<ListHostedZonesResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><HostedZones></HostedZones><IsTruncated>true</IsTruncated><NextMarker>again</NextMarker><MaxItems>100</MaxItems></ListHostedZonesResponse>";
    let endpoint = SharedServers::find().unwrap().aws_endpoint();
    let proxy = AwsProxy::start(&endpoint, move |call, _| if call == "ListHostedZones" { Verdict::Answer(endless) } else { Verdict::Pass });
    let inputs = "domain: example.com, name: www.example.com, type: A, value: 192.0.2.1";
    let ran = folder(&aws_connection(&proxy.endpoint()), inputs, "").run("deploy app -e dev --create-env development --yes");
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(proxy.calls().len() < 10, "{:?}", proxy.calls());
}
