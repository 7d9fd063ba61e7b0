//! Amounts as Kubernetes writes them: `100m`, `128Mi`, `2e3`.

/// Factors by unit.
const UNITS: [(&str, f64); 16] = [
    ("", 1.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
];

/// Reads the server's grammar of quantities, without its signs; nothing if the text is none.
#[must_use]
pub(crate) fn parse(text: &str) -> Option<f64> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let number: f64 = digits.parse().ok()?;
    if let Some((_, factor)) = UNITS.iter().find(|(known, _)| *known == unit) {
        return Some(number * factor);
    }
    let exponent: i32 = unit.strip_prefix(['e', 'E'])?.parse().ok()?;
    Some(number * 10_f64.powi(exponent))
}
