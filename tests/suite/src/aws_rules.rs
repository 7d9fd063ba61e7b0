//! Rules of AWS that moto does not play: what the documentation says is refused is refused before moto sees it.

use std::collections::BTreeSet;

use aws_config::SdkConfig;
use aws_sdk_rds::types::DbInstance;

/// Longest label of the DNS.
const LABEL_CHARS_MAX: usize = 63;

/// A refusal: its code and its message.
pub(crate) type Refusal = (&'static str, String);

/// Returns why AWS refuses a call, if it does.
pub(crate) async fn refusal(config: &SdkConfig, call: &str, path: &str, body: &str) -> Option<Refusal> {
    match call {
        "ModifyDBInstance" => modified(config, body).await,
        "DeleteDBParameterGroup" => used_parameter_group(config, field(body, "DBParameterGroupName")?).await,
        "DeleteDBSubnetGroup" => used_subnet_group(config, field(body, "DBSubnetGroupName")?).await,
        "ChangeResourceRecordSets" => changed_records(config, path, body).await,
        _ => None,
    }
}

/// Returns a field of a form; the values of these calls need no decoding.
fn field<'b>(body: &'b str, name: &str) -> Option<&'b str> {
    body.split('&').filter_map(|field| field.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

async fn instances(config: &SdkConfig) -> Vec<DbInstance> {
    let found = aws_sdk_rds::Client::new(config).describe_db_instances().send().await;
    found.map(|found| found.db_instances().to_vec()).unwrap_or_default()
}

/// `ModifyDBInstance`: storage does not shrink, engines do not go back, a parameter group is one of the version's family.
async fn modified(config: &SdkConfig, body: &str) -> Option<Refusal> {
    let identifier = field(body, "DBInstanceIdentifier")?;
    let instance = instances(config).await.into_iter().find(|instance| instance.db_instance_identifier() == Some(identifier))?;
    let number = |name: &str| field(body, name).and_then(|value| value.parse::<i32>().ok());
    let allocated = instance.allocated_storage().unwrap_or_default();
    let storage = number("AllocatedStorage").unwrap_or(allocated);
    let refuse = |message: String| Some(("InvalidParameterCombination", message));
    if storage < allocated {
        return refuse(format!("Requested storage size ({storage}) cannot be less than the current storage size ({allocated})."));
    }
    if let Some(most) = number("MaxAllocatedStorage").filter(|most| *most < storage) {
        return refuse(format!("Max storage size ({most}) must not be less than the storage size ({storage})."));
    }
    let running = instance.engine_version().unwrap_or_default();
    let engine = instance.engine().unwrap_or_default();
    let wanted = field(body, "EngineVersion").unwrap_or(running);
    let parts = |version: &str| version.split('.').filter_map(|part| part.parse::<u32>().ok()).collect::<Vec<_>>();
    if parts(wanted) < parts(running) && !running.starts_with(&format!("{wanted}.")) {
        return refuse(format!("Cannot upgrade {engine} from {running} to {wanted}"));
    }
    let is_major = parts(wanted).first() != parts(running).first();
    if is_major && field(body, "AllowMajorVersionUpgrade") != Some("true") {
        return refuse("The AllowMajorVersionUpgrade flag must be present when upgrading to a new major version.".to_owned());
    }
    let current = instance.db_parameter_groups().first().and_then(|group| group.db_parameter_group_name()).unwrap_or_default();
    let group = field(body, "DBParameterGroupName").unwrap_or(current);
    let series = wanted.split('.').next().unwrap_or_default();
    let family = family(config, group).await?;
    let fits = engine != "postgres" || family == format!("postgres{series}");
    if fits {
        None
    } else {
        refuse(format!("The parameter group {group} with DBParameterGroupFamily {family} can't be used for {engine} {wanted}."))
    }
}

/// Returns the family of a parameter group; groups of RDS itself have it in their name.
async fn family(config: &SdkConfig, group: &str) -> Option<String> {
    if let Some(family) = group.strip_prefix("default.") {
        return Some(family.to_owned());
    }
    let client = aws_sdk_rds::Client::new(config);
    let found = client.describe_db_parameter_groups().db_parameter_group_name(group).send().await.ok()?;
    found.db_parameter_groups().first()?.db_parameter_group_family().map(str::to_owned)
}

async fn used_parameter_group(config: &SdkConfig, name: &str) -> Option<Refusal> {
    let uses = |instance: &DbInstance| instance.db_parameter_groups().iter().any(|group| group.db_parameter_group_name() == Some(name));
    let is_used = instances(config).await.iter().any(uses);
    is_used.then(|| {
        ("InvalidDBParameterGroupState", format!("One or more database instances are still members of this parameter group {name}"))
    })
}

async fn used_subnet_group(config: &SdkConfig, name: &str) -> Option<Refusal> {
    let uses = |instance: &DbInstance| instance.db_subnet_group().and_then(|group| group.db_subnet_group_name()) == Some(name);
    let is_used = instances(config).await.iter().any(uses);
    is_used.then(|| {
        (
            "InvalidDBSubnetGroupStateFault",
            format!("Cannot delete the subnet group '{name}' because at least one database instance is still using it."),
        )
    })
}

/// `ChangeResourceRecordSets`: labels have 63 characters, and nothing stands beside a CNAME.
async fn changed_records(config: &SdkConfig, path: &str, body: &str) -> Option<Refusal> {
    let zone = path.split('/').skip_while(|part| *part != "hostedzone").nth(1)?;
    let listed = aws_sdk_route53::Client::new(config).list_resource_record_sets().hosted_zone_id(zone).send().await.ok()?;
    let plain = |name: &str| name.trim_end_matches('.').replace("\\052", "*").to_ascii_lowercase();
    let mut there: BTreeSet<(String, String)> =
        listed.resource_record_sets().iter().map(|set| (plain(set.name()), set.r#type().as_str().to_owned())).collect();
    for change in body.split("<Change>").skip(1) {
        let text = |tag: &str| change.split_once(&format!("<{tag}>")).and_then(|(_, rest)| rest.split('<').next()).unwrap_or_default();
        let (name, kind) = (plain(text("Name")), text("Type").to_owned());
        if let Some(label) = name.split('.').find(|label| label.len() > LABEL_CHARS_MAX) {
            return Some((
                "InvalidChangeBatch",
                format!("FATAL problem: DomainLabelTooLong (Domain label is too long) encountered with '{label}'"),
            ));
        }
        if text("Action") == "DELETE" {
            there.remove(&(name, kind));
        } else {
            there.insert((name, kind));
        }
    }
    let beside = |(name, kind): &&(String, String)| kind == "CNAME" && there.iter().any(|(other, of)| other == name && of != "CNAME");
    let (name, _) = there.iter().find(beside)?;
    Some(("InvalidChangeBatch", format!("RRSet of type CNAME with DNS name {name}. is not permitted as it conflicts with other records")))
}
