//! Versions of engines: which series one belongs to, and which of two is newer. Pure.

use std::cmp::Ordering;

/// Engines and how many parts of a version name their series: the part that a parameter group's family is called by.
const SERIES_PARTS: [(&str, usize); 3] = [("postgres", 1), ("mysql", 2), ("mariadb", 2)];

/// Returns how many parts of a version name the series of an engine; nothing of an engine that is not known here.
fn series_parts(engine: &str) -> Option<usize> {
    SERIES_PARTS.into_iter().find(|(known, _)| *known == engine).map(|(_, parts)| parts)
}

/// Returns whether a version names a minor version, not only a series: `16.4`, but not `16`.
pub(crate) fn names_minor(engine: &str, version: &str) -> bool {
    version.split('.').count() > series_parts(engine).unwrap_or(1)
}

/// Returns the parameter group that RDS itself gives instances of a version: `default.postgres16`.
pub(crate) fn default_group(engine: &str, version: &str) -> Option<String> {
    let parts: Vec<&str> = version.split('.').take(series_parts(engine)?).collect();
    let is_whole = parts.len() == series_parts(engine)? && parts.iter().all(|part| !part.is_empty());
    is_whole.then(|| format!("default.{engine}{}", parts.join(".")))
}

fn parts(version: &str) -> Vec<u64> {
    // `19.0.0.0.ru-2024-01` begins with numbers as every version does.
    version.split('.').map_while(|part| part.parse().ok()).collect()
}

/// Compares what an instance runs with a version that is wanted, as far as both are told: `16.8` is newer than `16.4` and equal to `16`.
pub(crate) fn compare(running: &str, wanted: &str) -> Ordering {
    if running == wanted {
        return Ordering::Equal;
    }
    let (running, wanted) = (parts(running), parts(wanted));
    let shared = running.len().min(wanted.len());
    running.iter().take(shared).cmp(wanted.iter().take(shared))
}

/// Returns whether an instance runs what is wanted or a newer minor version of it.
pub(crate) fn satisfies(engine: &str, running: &str, wanted: &str) -> bool {
    let series = series_parts(engine).unwrap_or(1);
    let of_series = |version: &str| parts(version).into_iter().take(series).collect::<Vec<u64>>();
    match compare(running, wanted) {
        Ordering::Equal => true,
        Ordering::Greater => of_series(running) == of_series(wanted),
        Ordering::Less => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_minor_versions_satisfy_and_other_series_do_not() {
        for (engine, running, wanted, fits) in [
            ("postgres", "16.8", "16.4", true),
            ("postgres", "16.10", "16.9", true),
            ("postgres", "16.4", "16", true),
            ("postgres", "16.3", "16.4", false),
            ("postgres", "17.2", "16.4", false),
            ("postgres", "15.8", "16", false),
            ("mysql", "8.0.40", "8.0.36", true),
            ("mysql", "8.4.3", "8.0.36", false),
            ("mariadb", "10.11.9", "10.11", true),
            ("mariadb", "11.4.4", "10.11", false),
            ("oracle-se2", "19.0.0.0.ru-2024-10", "19", true),
        ] {
            assert_eq!(satisfies(engine, running, wanted), fits, "{engine} {running} for {wanted}");
        }
    }

    #[test]
    fn default_groups_are_named_by_series() {
        assert_eq!(default_group("postgres", "16.4").as_deref(), Some("default.postgres16"));
        assert_eq!(default_group("mysql", "8.4.3").as_deref(), Some("default.mysql8.4"));
        assert_eq!(default_group("mysql", "8"), None);
        assert_eq!(default_group("sqlserver-ex", "15.00"), None);
    }
}
