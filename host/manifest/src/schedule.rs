//! Schedules of CronJobs, by the rules of the controller that reads them: five fields, or a word such as `@daily`.

/// A field: what it is called, its least and greatest number, and the names that stand for numbers from the least on.
type Field = (&'static str, u32, u32, &'static [&'static str]);

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Field; 5] = [
    ("minute", 0, 59, &[]),
    ("hour", 0, 23, &[]),
    ("day of the month", 1, 31, &[]),
    ("month", 1, 12, &MONTHS),
    ("day of the week", 0, 6, &DAYS),
];
const WORDS: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
/// Units of `@every 1h30m`.
const UNITS: [&str; 7] = ["ns", "us", "µs", "ms", "s", "m", "h"];

/// Says why a text is no schedule, if it is none.
pub(crate) fn wrong(text: &str) -> Option<String> {
    if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
        return Some("a schedule names no time zone: `spec.timeZone` does".to_owned());
    }
    if let Some(every) = text.strip_prefix("@every ") {
        return (!is_duration(every)).then(|| format!("`{every}` is no duration such as `1h30m`"));
    }
    if text.starts_with('@') {
        return (!WORDS.contains(&text))
            .then(|| format!("the words are {} and `@every 1h`", WORDS.map(|word| format!("`{word}`")).join(", ")));
    }
    let parts: Vec<&str> = text.split_whitespace().collect();
    if parts.len() != FIELDS.len() {
        return Some(format!("it has {} fields, not the five of minute, hour, day of the month, month and day of the week", parts.len()));
    }
    parts.into_iter().zip(&FIELDS).find_map(|(part, field)| wrong_field(part, field))
}

fn wrong_field(text: &str, field: &Field) -> Option<String> {
    let (name, least, greatest, _) = field;
    let fits = text.split(',').all(|part| is_range(part, field));
    (!fits).then(|| {
        format!("`{text}` is no {name}: numbers from {least} to {greatest}, `*`, ranges `1-5` and steps `*/10`, with commas between")
    })
}

/// Returns whether a part is `*`, a number, a range, or one of these with a step.
fn is_range(text: &str, field: &Field) -> bool {
    let (range, step) = match text.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (text, None),
    };
    let is_step = step.is_none_or(|step| step.parse::<u32>().is_ok_and(|step| step > 0));
    let is_span = match range.split_once('-') {
        _ if matches!(range, "*" | "?") => true,
        Some((from, to)) => number(from, field).zip(number(to, field)).is_some_and(|(from, to)| from <= to),
        None => number(range, field).is_some(),
    };
    is_step && is_span
}

fn number(text: &str, (_, least, greatest, names): &Field) -> Option<u32> {
    if let Some(index) = names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
        return u32::try_from(index).ok().map(|index| index + least);
    }
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_number && (least..=greatest).contains(&number))
}

/// Returns whether a text is a duration of Go that is at least a second long.
fn is_duration(text: &str) -> bool {
    let mut rest = text;
    let mut is_long = false;
    while !rest.is_empty() {
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let amount = rest.get(..rest.len() - digits.len()).and_then(|amount| amount.parse::<f64>().ok());
        let end = digits.find(|c: char| c.is_ascii_digit()).unwrap_or(digits.len());
        let Some((unit, after)) = digits.split_at_checked(end) else { return false };
        let Some(amount) = amount.filter(|_| UNITS.contains(&unit)) else { return false };
        is_long |= amount >= 1.0 && matches!(unit, "s" | "m" | "h");
        rest = after;
    }
    is_long
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_those_that_the_controller_takes() {
        for text in ["0 3 * * *", "*/15 0-6,22 1 JAN-mar mon", "@daily", "@every 1h30m", "5 4 ? * SUN", " 0  3 * * 6 ", "10-40/5 * * * *"] {
            assert_eq!(wrong(text), None, "{text}");
        }
        let texts = [
            "",
            "daily",
            "@dayly",
            "@every day",
            "0 3 * *",
            "0 3 * * * *",
            "60 3 * * *",
            "0 24 * * *",
            "0 3 0 * *",
            "0 3 * 13 *",
            "0 3 * * 7",
            "*/0 * * * *",
            "5-1 * * * *",
            "a * * * *",
            "1,,2 * * * *",
            "TZ=UTC 0 3 * * *",
            "+1 * * * *",
            "@every 1ms",
        ];
        for text in texts {
            assert!(wrong(text).is_some(), "{text}");
        }
        insta::assert_snapshot!(wrong("0 25 * * *").unwrap(), @"`25` is no hour: numbers from 0 to 23, `*`, ranges `1-5` and steps `*/10`, with commas between");
    }
}
