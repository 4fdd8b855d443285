//! Texts for people: names that cannot do harm, numbers that can be read at a glance.

use time::OffsetDateTime;

/// A name from the game without what could hide or reorder text, on one line, cut to `limit` characters.
///
/// Names are chosen by players, so they are hostile: control characters, marks that change the writing direction, and
/// characters of no width are left out.
pub(crate) fn plain(name: &str, limit: usize) -> String {
    let visible: String = name
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !c.is_control() && !is_invisible(*c))
        .collect();
    let words: Vec<&str> = visible.split(' ').filter(|word| !word.is_empty()).collect();
    cut(&words.join(" "), limit)
}

/// A [`plain`] name for a place where Discord reads markdown: every sign that could mean something is escaped.
pub(crate) fn escaped(name: &str, limit: usize) -> String {
    let plain = plain(name, limit);
    let mut text = String::with_capacity(plain.len() + 8);
    for (index, c) in plain.chars().enumerate() {
        let special = matches!(
            c,
            '\\' | '*' | '_' | '~' | '`' | '|' | '>' | '<' | '#' | '[' | ']' | '(' | ')' | '@' | ':'
        );
        // `-`, `+` and `1.` begin a list only at the beginning of a line.
        let list = index == 0 && matches!(c, '-' | '+');
        let numbered = c == '.' && index > 0 && text.bytes().all(|byte| byte.is_ascii_digit());
        if special || list || numbered {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

/// An [`escaped`] name for the text of a link. Brackets end such a text even where they are escaped, so they become round ones.
pub(super) fn label(name: &str, limit: usize) -> String {
    let round = name.replace('[', "(").replace(']', ")");
    escaped(&round, limit)
}

/// A link that shows `label`, which must be a [`label`].
pub(super) fn link(label: &str, url: &str) -> String {
    format!("[{label}]({url})")
}

/// At most `limit` of Discord's characters; what is cut off shows as `…`.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    if length(text) <= limit {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut left = limit.saturating_sub(1);
    for c in text.chars() {
        let Some(rest) = left.checked_sub(c.len_utf16()) else {
            break;
        };
        left = rest;
        kept.push(c);
    }
    // A backslash at the end would escape what comes after the name.
    while kept.ends_with('\\') {
        kept.pop();
    }
    kept.push('…');
    kept
}

/// How Discord may count: UTF-16 code units are never fewer than characters, so what holds for them holds either way.
pub(super) fn length(text: &str) -> usize {
    text.encode_utf16().count()
}

/// ISK with three significant digits: `1.23b ISK`, `45.6m ISK`, `789k ISK`, `12 ISK`; `unknown` for what is no amount.
pub(crate) fn isk(value: f64) -> String {
    if is_amount(value) {
        format!("{} ISK", short(value))
    } else {
        "unknown".to_owned()
    }
}

/// [`isk`] of what the source may not have said.
pub(super) fn isk_or_unknown(value: Option<f64>) -> String {
    value.map_or_else(|| "unknown".to_owned(), isk)
}

/// What comes from outside may be anything; nothing sensible can be said about less than nothing.
pub(super) fn is_amount(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

fn short(value: f64) -> String {
    let units = [(1e12, "t"), (1e9, "b"), (1e6, "m"), (1e3, "k")];
    // 999.5 of one unit rounds to 1000, which is 1.00 of the next.
    match units.into_iter().find(|(unit, _)| value >= unit * 0.9995) {
        Some((unit, name)) => format!("{}{name}", three_digits(value / unit)),
        None => format!("{value:.0}"),
    }
}

/// Whole numbers in groups: `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A length of time as people say it: `42 min`, `3 h 12 min`, `5 days`.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 if (seconds / 60).is_multiple_of(60) => format!("{} h", seconds / 3_600),
        3_600..172_800 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} days", grouped(seconds / 86_400)),
    }
}

fn three_digits(value: f64) -> String {
    if value < 9.995 {
        format!("{value:.2}")
    } else if value < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// The security status as the game shows it: 0.1 if 0 < s < 0.05, else rounded half up to one decimal.
pub(crate) fn security(status: f64) -> String {
    let shown = if status > 0.0 && status < 0.05 {
        0.1
    } else {
        (status * 10.0 + 0.5).floor() / 10.0
    };
    // -0.04 rounds to a zero that has a sign.
    format!("{:.1}", if shown == 0.0 { 0.0 } else { shown })
}

/// `YYYY-MM-DD HH:MM` of seconds since 1970, UTC, which is EVE time.
pub(crate) fn eve_time(seconds: i64) -> String {
    // Only the years 0 to 9999 are shown as dates; a time beyond them is not one of a kill.
    let utc = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = utc.to_calendar_date();
    let (hour, minute, _) = utc.to_hms();
    format!("{year:04}-{:02}-{day:02} {hour:02}:{minute:02}", u8::from(month))
}

/// `YYYYMMDDHH00`, as battle reports write the hour.
pub(super) fn hour(seconds: i64) -> String {
    let digits: String = eve_time(seconds).chars().filter(char::is_ascii_digit).collect();
    format!("{}00", digits.get(..10).unwrap_or(&digits))
}

/// Characters that are there and cannot be seen: writing direction, zero width, fillers, tags, variation selectors.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_become_harmless() {
        for (name, expected) in [
            ("**bold** _x_", r"\*\*bold\*\* \_x\_"),
            ("@everyone <@&1>", r"\@everyone \<\@&1\>"),
            ("[free](https://evil)", r"\[free\]\(https\://evil\)"),
            ("a\u{202e}b\u{200b}c\u{0}d\ne", "abcd e"),
            ("- list", r"\- list"),
            ("-10-", r"\-10-"),
            ("# head", r"\# head"),
            ("`||x||`", r"\`\|\|x\|\|\`"),
            ("  two  words ", "two words"),
            ("日本語 🚀", "日本語 🚀"),
        ] {
            assert_eq!(escaped(name, 100), expected);
        }
        assert_eq!(plain("abcdef", 4), "abc…");
        assert_eq!(length(&cut(&"🚀".repeat(50), 21)), 21);
        assert_eq!(cut(r"ab\_", 4), r"ab\_");
        assert_eq!(cut(r"ab\_x", 4), "ab…");
    }

    #[test]
    fn three_significant_digits() {
        for (value, expected) in [
            (0.0, "0"),
            (12.4, "12"),
            (999.4, "999"),
            (999.6, "1.00k"),
            (1_234.0, "1.23k"),
            (45_678_901.0, "45.7m"),
            (999_499_999.0, "999m"),
            (999_500_000.0, "1.00b"),
            (1_234_567_890.0, "1.23b"),
            (9.996e9, "10.0b"),
            (99.96e9, "100b"),
            (2.5e12, "2.50t"),
            (1.5e15, "1500t"),
            (999_950.0, "1.00m"),
        ] {
            assert_eq!(isk(value), format!("{expected} ISK"), "{value}");
        }
        for nothing in [f64::NAN, f64::INFINITY, -1.0] {
            assert_eq!(isk(nothing), "unknown");
        }
        assert_eq!(isk_or_unknown(None), "unknown");
    }

    #[test]
    fn numbers_and_lengths_of_time() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        for (seconds, text) in [
            (59, "59 s"),
            (2_520, "42 min"),
            (3_600, "1 h"),
            (11_520, "3 h 12 min"),
            (172_800, "2 days"),
            (400_000_000, "4,629 days"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn links_hold_whatever_they_show() {
        let label = label("a](https://evil.example) [b", 100);
        assert_eq!(label, r"a\)\(https\://evil.example\) \(b");
        assert_eq!(link("x", "https://a.example/"), "[x](https://a.example/)");
        assert_eq!(escaped("1. one", 100), r"1\. one");
        assert_eq!(escaped("v1.5", 100), "v1.5");
    }

    #[test]
    fn displayed_security_and_dates() {
        for (status, shown) in [
            (0.03, "0.1"),
            (0.45, "0.5"),
            (0.449, "0.4"),
            (-0.04, "0.0"),
            (-0.99, "-1.0"),
            (1.0, "1.0"),
        ] {
            assert_eq!(security(status), shown);
        }
        assert_eq!(eve_time(0), "1970-01-01 00:00");
        assert_eq!(eve_time(1_709_209_425), "2024-02-29 12:23");
        assert_eq!(hour(1_709_209_425), "202402291200");
        assert_eq!(eve_time(-1), "1969-12-31 23:59");
    }
}
