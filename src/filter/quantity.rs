//! Exact parsing and printing of numbers, hours and ages.

use super::text::is_dash;

/// The reason why a text is not a number, hour or age, with a suggestion.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct QuantityError {
    pub message: String,
    pub suggestion: Option<String>,
}

/// The forms that a number can have.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rules {
    /// Whether the number is ISK, which allows the suffixes k, m, b and t.
    pub isk: bool,
    /// Whether decimals are allowed.
    pub decimal: bool,
    /// Whether the number can be negative.
    pub negative: bool,
}

/// The suffixes with their powers of ten.
const SUFFIXES: [(&str, i32); 4] = [("t", 12), ("b", 9), ("m", 6), ("k", 3)];

/// Common spellings of suffixes, used only for suggestions.
const OTHER_SUFFIXES: [(&str, &str); 20] = [
    ("bn", "b"),
    ("bil", "b"),
    ("bill", "b"),
    ("billion", "b"),
    ("billions", "b"),
    ("kkk", "b"),
    ("mn", "m"),
    ("mil", "m"),
    ("mill", "m"),
    ("million", "m"),
    ("millions", "m"),
    ("kk", "m"),
    ("tn", "t"),
    ("tril", "t"),
    ("trillion", "t"),
    ("trillions", "t"),
    ("th", "k"),
    ("thousand", "k"),
    ("isk", ""),
    ("bisk", "b"),
];

/// Parses a number.
pub(super) fn number(text: &str, rules: Rules) -> Result<f64, QuantityError> {
    let wrong = |message: String| QuantityError {
        message,
        suggestion: repaired(text, rules),
    };
    let (negative, rest) = signed(text);
    let (digits, suffix) = split(rest);
    if !is_decimal(digits) {
        return Err(wrong(format!("`{text}` is not a number; {}", expected(rules))));
    }
    let suffix = suffix.to_lowercase();
    let power = match SUFFIXES.iter().find(|(name, _)| *name == suffix) {
        _ if suffix.is_empty() => 0,
        Some((_, power)) if rules.isk => *power,
        Some((name, _)) => {
            return Err(wrong(format!(
                "the suffix `{name}` is only for ISK; {}",
                expected(rules)
            )));
        }
        None => return Err(wrong(format!("`{text}` is not a number; {}", expected(rules)))),
    };
    // The standard library parses decimal text with an exponent exactly. Multiplying 1.5 by 1e9 could round.
    let value: f64 = format!("{digits}e{power}")
        .parse()
        .map_err(|_| wrong(format!("`{text}` is not a number; {}", expected(rules))))?;
    if !value.is_finite() {
        return Err(wrong(format!("`{text}` is too large")));
    }
    if negative && !rules.negative && value != 0.0 {
        return Err(QuantityError {
            message: format!("`{text}` is negative, but this number cannot be"),
            suggestion: None,
        });
    }
    if !rules.decimal && value.fract() != 0.0 {
        return Err(QuantityError {
            message: format!("`{text}` is not a whole number"),
            suggestion: None,
        });
    }
    Ok(if negative && value != 0.0 { -value } else { value })
}

fn expected(rules: Rules) -> &'static str {
    match rules {
        Rules { isk: true, .. } => {
            "write digits, with k, m, b or t for thousands, millions, billions or trillions (1.5b)"
        }
        Rules { decimal: true, .. } => "write digits, with a point for decimals (0.5)",
        _ => "write a whole number (25)",
    }
}

fn signed(text: &str) -> (bool, &str) {
    text.strip_prefix(is_dash).map_or((false, text), |rest| (true, rest))
}

/// Splits off the leading digits and points.
fn split(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    text.split_at(end)
}

/// Returns whether the text has the form `1`, `1.5` or `.5`.
fn is_decimal(text: &str) -> bool {
    let digits = |part: &str| part.chars().all(|c| c.is_ascii_digit());
    match text.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction) && !fraction.is_empty(),
        None => digits(text) && !text.is_empty(),
    }
}

/// Returns the number that was probably meant; `None` if no repair gives a valid number.
fn repaired(text: &str, rules: Rules) -> Option<String> {
    let (negative, rest) = signed(text);
    let rest = rest.trim_start_matches('+').to_lowercase();
    let rest = match (
        is_grouped(&rest, ','),
        is_grouped(&rest, '.'),
        rest.matches(',').count(),
    ) {
        (true, _, _) => rest.replace(',', ""),
        (_, true, _) if rest.matches('.').count() > 1 => rest.replace('.', ""),
        (_, _, 1) => rest.replace(',', "."),
        _ => rest.replace(['_', '\'', ' '], ""),
    };
    let (digits, suffix) = split(&rest);
    let digits = digits.trim_end_matches('.');
    let scientific = || rest.contains('e').then(|| rest.parse::<f64>().ok()).flatten();
    let suffix = OTHER_SUFFIXES
        .iter()
        .find(|(name, _)| *name == suffix)
        .map_or(suffix, |(_, known)| known);
    let positive = if let Some(value) = scientific() {
        plain_number(value)
    } else if let (false, Some((_, power))) = (rules.isk, SUFFIXES.iter().find(|(name, _)| *name == suffix)) {
        plain_number(format!("{digits}e{power}").parse().ok()?)
    } else {
        format!("{digits}{suffix}")
    };
    let repaired = if negative { format!("-{positive}") } else { positive };
    (repaired != text && is_number(&repaired, rules)).then_some(repaired)
}

/// Returns whether the digits before the suffix are in groups of three: `1,000,000`.
fn is_grouped(text: &str, separator: char) -> bool {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == separator))
        .unwrap_or(text.len());
    let mut groups = text[..end].split(separator);
    let first = groups.next().unwrap_or_default();
    let mut others = groups.peekable();
    (1..=3).contains(&first.len()) && others.peek().is_some() && others.all(|group| group.len() == 3)
}

/// Returns whether `text` needs no repair.
fn is_number(text: &str, rules: Rules) -> bool {
    let (negative, rest) = signed(text);
    let (digits, suffix) = split(rest);
    let known = suffix.is_empty() || (rules.isk && SUFFIXES.iter().any(|(name, _)| *name == suffix));
    !digits.is_empty()
        && is_decimal(digits)
        && known
        && (rules.negative || !negative)
        && (rules.decimal || !digits.contains('.'))
        // A number with fewer digits cannot overflow an `f64`.
        && digits.len() < 300
}

/// Returns the shortest text that parses as `value`, without a suffix.
pub(super) fn plain_number(value: f64) -> String {
    // `Display` never uses scientific notation.
    format!("{value}")
}

/// Returns the shortest text that parses as `value`, with the largest suffix that fits.
///
/// A suffix fits if the number before it is at least 1.
pub(super) fn isk(value: f64) -> String {
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let Some((suffix, power)) = SUFFIXES.iter().find(|(_, power)| exponent >= *power) else {
        return plain_number(value);
    };
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    // Move the decimal point in the text, because a division could round.
    let mut digits = mantissa.replace('.', "");
    let whole = usize::try_from(exponent - power).unwrap_or(0) + 1;
    while digits.len() < whole {
        digits.push('0');
    }
    let (before, after) = digits.split_at(whole);
    let point = if after.is_empty() { "" } else { "." };
    format!("{sign}{before}{point}{after}{suffix}")
}

/// Parses an hour or an inclusive range of hours: `5`, `22-3`.
pub(super) fn hours(text: &str) -> Result<(u32, u32), QuantityError> {
    let wrong = |message: String| QuantityError {
        message,
        suggestion: None,
    };
    let hour = |part: &str| match part.parse::<u32>() {
        Ok(hour) if part.chars().all(|c| c.is_ascii_digit()) && part.len() <= 2 => {
            if hour <= 23 {
                Ok(hour)
            } else {
                Err(wrong(format!("`{part}` is not an hour; hours are 0 to 23 (UTC)")))
            }
        }
        _ => Err(QuantityError {
            message: format!("`{text}` is not an hour; write an hour or a range of hours in UTC, as in 5 or 22-3"),
            suggestion: hours_repaired(text),
        }),
    };
    match text.split_once(is_dash) {
        Some((from, to)) => Ok((hour(from)?, hour(to)?)),
        None => hour(text).map(|hour| (hour, hour)),
    }
}

/// Suggests a range for `22:00-03:00`. The range ends with hour 2, because its last minute is 02:59.
fn hours_repaired(text: &str) -> Option<String> {
    let whole = |part: &str| {
        part.strip_suffix(":00")
            .and_then(|hour| hour.parse::<u32>().ok())
            .filter(|&hour| hour < 24)
    };
    let (from, to) = text.split_once(is_dash)?;
    let (from, to) = (whole(from)?, whole(to)?);
    Some(format!("{from}-{}", (to + 23) % 24))
}

/// Parses an age into seconds: `2h`, `30m`, `1.5d`.
pub(super) fn age(text: &str) -> Result<u64, QuantityError> {
    let wrong = |message: String, suggestion: Option<String>| QuantityError { message, suggestion };
    let (digits, unit) = split(text);
    let seconds_in = match unit.to_lowercase().as_str() {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        other => {
            let meant = match other {
                "" | "hr" | "hrs" | "hour" | "hours" => Some("h"),
                "min" | "mins" | "minute" | "minutes" => Some("m"),
                "day" | "days" => Some("d"),
                _ => None,
            };
            let suggestion = meant.filter(|_| is_decimal(digits) && !digits.is_empty());
            return Err(wrong(
                format!("`{text}` is not an age; write a number and m, h or d, as in 90m, 2h or 1d"),
                suggestion.map(|unit| format!("{digits}{unit}")),
            ));
        }
    };
    if !is_decimal(digits) {
        return Err(wrong(
            format!("`{text}` is not an age; write a number and m, h or d, as in 90m, 2h or 1d"),
            None,
        ));
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let seconds = || {
        let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let number: u128 = format!("0{whole}{fraction}").parse().ok()?;
        let scaled = number.checked_mul(seconds_in)?;
        // An age is a whole number of seconds.
        (scaled % scale == 0).then_some(scaled / scale)
    };
    seconds()
        .and_then(|seconds| u64::try_from(seconds).ok())
        // The limit of a million years keeps canonical text exact.
        .filter(|&seconds| seconds < 1 << 45)
        .ok_or_else(|| {
            wrong(
                format!("`{text}` is too long or too precise for an age; write one like 90m, 2h or 1d"),
                None,
            )
        })
}

/// Returns the text that parses as this number of seconds.
pub(super) fn age_text(seconds: u64) -> String {
    for (unit, seconds_in) in [("d", 86_400), ("h", 3_600), ("m", 60)] {
        if seconds.is_multiple_of(seconds_in) && (seconds > 0 || unit == "m") {
            return format!("{}{unit}", seconds / seconds_in);
        }
    }
    // Every whole number of seconds that the language can express is a finite decimal number of minutes.
    let millionths = u128::from(seconds) * 1_000_000 / 60;
    let fraction = format!("{:06}", millionths % 1_000_000);
    format!("{}.{}m", millionths / 1_000_000, fraction.trim_end_matches('0'))
}
