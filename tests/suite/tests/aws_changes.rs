//! What changes on AWS: versions, settings and tags that are removed, records that move to another zone; behind a proxy that refuses what
//! AWS refuses.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure here is the test's")]

use windlass_cluster::SharedServers;
use windlass_suite::{
    aws::{Account, AwsProxy, Verdict},
    aws_scene::{NAMED, STORED, dns, rds, scene},
};

#[test]
fn an_instance_is_never_taken_back_and_what_is_removed_is_switched_off() {
    let endpoint = SharedServers::find().unwrap().aws_endpoint();
    // moto knows no Performance Insights: in this account they are switched on.
    let insights = "<PerformanceInsightsEnabled>true</PerformanceInsightsEnabled><DBInstanceStatus>";
    let proxy = AwsProxy::start(&endpoint, move |call, _| match call {
        "DescribeDBInstances" => Verdict::Rewrite("<DBInstanceStatus>", insights.to_owned()),
        _ => Verdict::Pass,
    });
    let account = Account::open(&endpoint);
    let full = "version: \"16.4\", storage: 20, max_storage: 100, performance_insights: true, backup_window: \"03:00-04:00\", \
        tags: { team: shop }, parameters: { log_statement: none }";
    let scene = scene("rdsremoved", &proxy.endpoint(), STORED, &rds(full));
    scene.folder.ok("deploy app -e dev --create-env development --yes");
    let identifier = format!("{}-dev-web-db", scene.application);
    let group = |instance: &aws_sdk_rds::types::DbInstance| instance.db_parameter_groups()[0].db_parameter_group_name().map(str::to_owned);
    let made = account.instance(&identifier).unwrap();
    assert_eq!(made.auto_minor_version_upgrade(), Some(false), "a pinned minor version is kept");
    assert_eq!(group(&made), Some(format!("{identifier}-postgres16")));
    // RDS moves on by itself: no drift, and nothing is sent with whatever else is deployed.
    account.change_instance(&identifier, |change| change.engine_version("16.8").allocated_storage(40).apply_immediately(true));
    let before = proxy.changes().len();
    let drift = scene.folder.run("drift -e dev --detailed-exitcode");
    assert_eq!(drift.code, 0, "{}", drift.out);
    assert!(scene.folder.ok("deploy app -e dev --yes").err.contains("nothing was written"));
    assert_eq!(proxy.changes().len(), before, "{:?}", proxy.changes());
    // A tag that a person changed is drift.
    let (client, runtime) = account.rds();
    let tag = aws_sdk_rds::types::Tag::builder().key("team").value("other").build();
    runtime.block_on(client.add_tags_to_resource().resource_name(made.db_instance_arn().unwrap()).tags(tag).send()).unwrap();
    let drift = scene.folder.run("drift -e dev --detailed-exitcode");
    assert!(drift.code == 2 && drift.out.contains("/tags/team: \"shop\" → \"other\""), "{}", drift.out);
    // Everything that was asked for is removed, and the major version changes with its group.
    let redeploy = |inputs: &str| {
        scene.folder.write("platform/definition.yaml", &rds(inputs));
        scene.folder.ok("platform apply platform");
        scene.folder.run("deploy app -e dev --yes")
    };
    let major = redeploy(&full.replace("16.4", "17.2"));
    assert_eq!(major.code, 0, "{}", major.err);
    let instance = account.instance(&identifier).unwrap();
    assert_eq!((instance.engine_version(), group(&instance)), (Some("17.2"), Some(format!("{identifier}-postgres17"))));
    // RDS has a group of its own for each version; moto makes none.
    let (client, runtime) = account.rds();
    let group_of_rds = client.create_db_parameter_group().db_parameter_group_name("default.postgres17");
    runtime.block_on(group_of_rds.db_parameter_group_family("postgres17").description("RDS's own").send()).unwrap();
    let before = proxy.sent("ModifyDBInstance").len();
    let removed = redeploy("version: \"17.2\", storage: 20");
    assert_eq!(removed.code, 0, "{}", removed.err);
    assert!(removed.err.contains("RDS keeps `backupWindow` as it is"), "{}", removed.err);
    let sent = proxy.sent("ModifyDBInstance")[before..].concat();
    for expected in ["MaxAllocatedStorage=40", "EnablePerformanceInsights=false", "DBParameterGroupName=default.postgres17"] {
        assert!(sent.contains(expected), "{expected}: {sent}");
    }
    assert!(!sent.contains("&AllocatedStorage") && !sent.contains("MasterUserPassword"), "{sent}");
    let instance = account.instance(&identifier).unwrap();
    assert!(!instance.tag_list().iter().any(|tag| tag.key() == Some("team")), "{:?}", instance.tag_list());
    assert_eq!(proxy.sent("DeleteDBParameterGroup").len(), 2, "no group is left");
    assert!(scene.folder.ok("deploy app -e dev --yes").err.contains("nothing was written"));
    scene.folder.ok("destroy -e dev --yes");
}

#[test]
fn a_record_that_moves_to_another_zone_is_taken_out_of_the_old_one() {
    let endpoint = SharedServers::find().unwrap().aws_endpoint();
    let proxy = AwsProxy::start(&endpoint, |_, _| Verdict::Pass);
    let account = Account::open(&endpoint);
    let parent = format!("moves{}.example.org", std::process::id());
    let domain = format!("team.{parent}");
    let old = account.zone(&parent);
    let scene = scene("r53moves", &proxy.endpoint(), NAMED, &dns(&domain, "192.0.2.7"));
    scene.folder.ok("deploy app -e dev --create-env development --yes");
    assert_eq!(account.records(&old).len(), 2);
    // A longer zone exists by now: nothing moves until the record changes.
    let new = account.zone(&domain);
    assert!(scene.folder.ok("deploy app -e dev --yes").err.contains("nothing was written"));
    scene.folder.write("platform/definition.yaml", &dns(&domain, "192.0.2.8"));
    scene.folder.ok("platform apply platform");
    scene.folder.ok("deploy app -e dev --yes");
    assert_eq!(account.records(&old), Vec::<String>::new(), "nothing is left in the former zone");
    let moved = account.records(&new);
    assert!(moved.len() == 2 && moved.iter().any(|record| record.ends_with(" A 192.0.2.8")), "{moved:?}");
    assert_eq!(scene.folder.run("drift -e dev --detailed-exitcode").code, 0);
    // A zone that is named is part of what the record is: another one is another record, and the first goes.
    let named = dns(&domain, "192.0.2.8").replace("domain:", &format!("zone_id: {old}, domain:"));
    scene.folder.write("platform/definition.yaml", &named);
    scene.folder.ok("platform apply platform");
    scene.folder.ok("deploy app -e dev --yes");
    assert_eq!((account.records(&old).len(), account.records(&new).len()), (2, 0));
    scene.folder.ok("destroy -e dev --yes");
    assert_eq!(account.records(&old), Vec::<String>::new());
}

#[test]
fn records_that_can_t_stand_are_refused_before_the_first_effect() {
    let endpoint = SharedServers::find().unwrap().aws_endpoint();
    let proxy = AwsProxy::start(&endpoint, |_, _| Verdict::Pass);
    let account = Account::open(&endpoint);
    let domain = format!("refused{}.example.com", std::process::id());
    let zone = account.zone(&domain);
    let scene = scene("r53refused", &proxy.endpoint(), NAMED, &dns(&domain, "lb.example.net"));
    let name = format!("web-dns-{}-dev.{domain}", scene.application);
    // Whatever stands at a name keeps a CNAME away from it.
    account.write_record(&zone, &name, "MX", "10 mail.example.net");
    let refused = scene.folder.run("deploy app -e dev --create-env development --yes");
    assert!(refused.err.contains(&format!("the record `{name}` MX exists, and Windlass did not make it")), "{}", refused.err);
    assert!(scene.kubectl(&["get", "namespace", &scene.namespace]).is_err(), "refused before the first effect");
    // A label that leaves no room for the ownership record is refused while planning; one that the driver makes fits.
    let long = NAMED.replace("{ type: dns }", &format!("{{ type: dns, params: {{ name: {} }} }}", "x".repeat(58)));
    scene.folder.write("app/web.score.yaml", &long);
    let planned = scene.folder.run("plan app -e dev");
    assert!(planned.code != 0 && planned.err.contains("a label of CNAME records has at most 57"), "{}", planned.err);
    scene.folder.write("app/web.score.yaml", &NAMED.replace("{ type: dns }", &format!("{{ type: dns, id: {} }}", "y".repeat(62))));
    scene.folder.ok("deploy app -e dev --yes");
    assert_eq!(account.records(&zone).len(), 3);
    scene.folder.ok("destroy -e dev --yes");
}
