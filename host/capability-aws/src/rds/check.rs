//! What RDS takes, as far as a spec shows it: found out while planning, not by a refusal.

use serde_json::Value;
use windlass_model::{Diagnostic, sealed::Sealed};

use super::spec::{DbInstanceSpec, DbSubnetGroupSpec};

/// Least storage of every type but the magnetic one, in GiB.
const STORAGE_MIN: i32 = 20;
/// Minutes of a day and of a week.
const DAY: u32 = 24 * 60;
const WEEK: u32 = 7 * DAY;
/// Shortest window, in minutes.
const WINDOW_MIN: u32 = 30;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Checks an instance; all that is wrong at once.
pub(crate) fn check_instance(spec: &DbInstanceSpec, value: &Value) -> Vec<Diagnostic> {
    let mut problems: Vec<Diagnostic> = wrong_name(&spec.identifier, 63).map(|problem| problem.at("/identifier")).into_iter().collect();
    let mut refuse = |at: &str, why: &str| problems.push(Diagnostic::error("db-instance", why).at(at));
    if !spec.class.starts_with("db.") || spec.class.split('.').count() < 3 {
        refuse("/class", "a class is written as `db.t4g.micro`");
    }
    let password = value.get("masterPassword");
    if let Some(password) = password
        && !Sealed::from_json(password).is_some_and(|sealed| sealed.is_secret())
    {
        refuse("/masterPassword", "the password stands in clear text: use a generated secret, or let RDS manage it");
    }
    let managed = spec.manage_master_password == Some(true);
    if spec.replicate_from.is_some() {
        for (at, given) in [
            ("/engine", spec.engine.is_some()),
            ("/masterUsername", spec.master_username.is_some()),
            ("/masterPassword", password.is_some()),
            ("/manageMasterPassword", managed),
            ("/dbName", spec.db_name.is_some()),
            ("/allocatedStorage", spec.allocated_storage.is_some()),
        ] {
            if given {
                refuse(at, "a read replica has it from its source");
            }
        }
    } else {
        match spec.engine.as_deref() {
            None => refuse("/engine", "the engine is missing"),
            Some(engine) if engine.starts_with("aurora") => {
                refuse("/engine", "instances of Aurora belong to a cluster, which is not made here")
            }
            Some(_) => {}
        }
        if spec.master_username.is_none() {
            refuse("/masterUsername", "the name of the master user is missing");
        }
        if managed == password.is_some() {
            refuse("/masterPassword", "give either `masterPassword` or `manageMasterPassword: true`");
        }
    }
    // What is sealed is no text yet.
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    if text("dbName").is_some_and(|name| !is_identifier(name)) {
        refuse("/dbName", "a database is named by at most 63 letters, digits and `_`, a letter first");
    }
    if let Some(user) = text("masterUsername") {
        let is_postgres = spec.engine.as_deref() == Some("postgres");
        if !is_identifier(user) {
            refuse("/masterUsername", "a user is named by at most 63 letters, digits and `_`, a letter first");
        }
        if user == "rdsadmin" || (user == "admin" && is_postgres) {
            refuse("/masterUsername", "the engine keeps the name for itself");
        }
    }
    if spec.port.is_some_and(|port| !(1150..=65535).contains(&port)) {
        refuse("/port", "RDS listens on ports from 1150 on");
    }
    if spec.allocated_storage.is_some_and(|size| size < STORAGE_MIN) && spec.storage_type.as_deref() != Some("standard") {
        refuse("/allocatedStorage", "an instance has 20 GiB or more");
    }
    check_windows(text("backupWindow"), text("maintenanceWindow"), &mut refuse);
    if let (Some(least), Some(most)) = (spec.allocated_storage, spec.max_allocated_storage)
        && most <= least
    {
        refuse("/maxAllocatedStorage", "storage can grow only beyond what is allocated");
    }
    if spec.kms_key.is_some() && spec.storage_encrypted == Some(false) {
        refuse("/kmsKey", "a key needs `storageEncrypted`");
    }
    if spec.backup_retention_days.is_some_and(|days| !(0..=35).contains(&days)) {
        refuse("/backupRetentionDays", "backups are kept 0 to 35 days");
    }
    problems
}

fn check_windows(backup: Option<&str>, maintenance: Option<&str>, refuse: &mut impl FnMut(&str, &str)) {
    let (backup, maintenance) = (backup.map(daily), maintenance.map(weekly));
    if backup == Some(None) {
        refuse("/backupWindow", "a window of half an hour or more is written as `03:00-04:00`, in UTC");
    }
    if maintenance == Some(None) {
        refuse("/maintenanceWindow", "a window of half an hour to a day is written as `sun:05:00-sun:06:00`, in UTC");
    }
    if backup.flatten().zip(maintenance.flatten()).is_some_and(|(backup, maintenance)| overlap(backup, maintenance)) {
        refuse("/maintenanceWindow", "it overlaps with the window of backups");
    }
}

/// Checks a group of subnets.
pub(crate) fn check_subnets(spec: &DbSubnetGroupSpec) -> Vec<Diagnostic> {
    let mut problems: Vec<Diagnostic> = wrong_name(&spec.name, 255).into_iter().collect();
    if spec.subnets.len() < 2 {
        problems
            .push(Diagnostic::error("db-subnet-group", "a subnet group needs subnets in two availability zones or more").at("/subnets"));
    }
    problems
}

/// Letters, digits and single hyphens; a letter first, no hyphen last.
pub(crate) fn wrong_name(name: &str, chars_max: usize) -> Option<Diagnostic> {
    let fits = (1..=chars_max).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && !name.contains("--");
    (!fits).then(|| {
        Diagnostic::error("rds-name", format!("`{name}` is no name of RDS"))
            .at("/name")
            .hint(format!("1 to {chars_max} lower-case letters, digits and single hyphens, a letter first"))
    })
}

fn is_identifier(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A window: the minute that it begins at, and its length.
type Window = (u32, u32);

/// Reads `HH:MM`.
fn minute(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |text: &str| if text.len() == 2 { text.parse::<u32>().ok() } else { None };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

/// Reads `HH:MM-HH:MM`.
fn daily(text: &str) -> Option<Window> {
    let (from, to) = text.split_once('-')?;
    let (from, to) = (minute(from)?, minute(to)?);
    let length = (to + DAY - from) % DAY;
    (length >= WINDOW_MIN).then_some((from, length))
}

/// Reads `DAY:HH:MM-DAY:HH:MM`.
fn weekly(text: &str) -> Option<Window> {
    let point = |text: &str| -> Option<u32> {
        let (day, time) = text.split_once(':')?;
        let day = DAYS.iter().position(|known| day.eq_ignore_ascii_case(known))?;
        Some(u32::try_from(day).ok()? * DAY + minute(time)?)
    };
    let (from, to) = text.split_once('-')?;
    let (from, to) = (point(from)?, point(to)?);
    let length = (to + WEEK - from) % WEEK;
    (WINDOW_MIN..=DAY).contains(&length).then_some((from, length))
}

/// Tells whether what is every day meets what is once a week.
fn overlap((backup, long): Window, (from, length): Window) -> bool {
    (0..7).any(|day| {
        let begins = day * DAY + backup;
        // Either begins within the other, also across the end of the week.
        (begins + WEEK - from) % WEEK < length || (from + WEEK - begins) % WEEK < long
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass_engine::planner::{Authority, Planner as _, SpecContext};
    use windlass_model::platform::PolicyException;

    use super::{super::planner::RdsPlanner, *};

    fn checked(resource: &str, value: Value) -> Vec<String> {
        let authority = Authority { exceptions: vec![PolicyException::ForeignResources], ..Authority::default() };
        let context =
            SpecContext { application: "shop".into(), environment: "dev".into(), workload: None, namespace: None, connection_kind: "aws" };
        let spec = RdsPlanner.normalise(resource, value, &authority, &context);
        let problems = RdsPlanner.check(&spec, &authority, &context);
        problems.into_iter().map(|problem| format!("{} {}", problem.pointer, problem.message)).collect()
    }

    #[test]
    fn wrong_specs_say_where_and_why() {
        let instance = |more: Value| {
            let mut spec = json!({ "identifier": "shop", "class": "db.t4g.micro", "engine": "postgres", "masterUsername": "app", "manageMasterPassword": true, "allocatedStorage": 20 });
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            checked("db-instance", spec)
        };
        assert_eq!(
            instance(
                json!({ "dbName": "Shop_1", "port": 5432, "backupWindow": "23:50-00:30", "maintenanceWindow": "Sun:00:30-sun:01:00" })
            ),
            [""; 0]
        );
        let found = [
            checked("db-instance", json!({ "identifier": "Shop_DB", "class": "large" })),
            checked(
                "db-instance",
                json!({ "identifier": "shop", "class": "db.t4g.micro", "engine": "postgres", "masterUsername": "app", "masterPassword": "hunter2", "allocatedStorage": 20, "maxAllocatedStorage": 20 }),
            ),
            checked("db-instance", json!({ "identifier": "shop", "class": "db.t4g.micro", "replicateFrom": "main", "engine": "postgres" })),
            checked("db-instance", json!({ "identifier": "shop", "class": "db.t4g.micro", "instanceClass": "x" })),
            checked("db-subnet-group", json!({ "name": "shop", "description": "x", "subnets": ["subnet-1"] })),
            instance(
                json!({ "engine": "aurora-postgresql", "allocatedStorage": 10, "port": 80, "dbName": "shop-db", "masterUsername": "admin" }),
            ),
            instance(json!({ "engine": "postgres", "masterUsername": "admin" })),
            instance(json!({ "engine": "mysql", "masterUsername": "admin", "dbName": { "$sealed": [] } })),
            instance(json!({ "masterUsername": "9app", "backupWindow": "3:00-4:00", "maintenanceWindow": "sunday:05:00-06:00" })),
            instance(json!({ "backupWindow": "03:00-03:10", "maintenanceWindow": "sun:05:00-tue:05:00" })),
            instance(json!({ "backupWindow": "23:50-00:30", "maintenanceWindow": "mon:00:00-mon:00:30" })),
        ];
        insta::assert_snapshot!(found.iter().flatten().cloned().collect::<Vec<_>>().join("\n"));
    }
}
