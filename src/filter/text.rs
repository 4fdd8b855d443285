//! Rules for characters that count as equal, and for characters that are ignored.
//!
//! Phones, word processors and chat clients replace plain quotes, apostrophes and dashes with typographic ones, and copied
//! text contains invisible characters.

/// Returns the form of a name for comparison: two names are equal if their folds are.
///
/// Folding makes letters lower case, makes quotes, apostrophes, dashes and spaces plain, drops invisible characters, and
/// trims white space.
pub fn fold(name: &str) -> String {
    name.trim()
        .chars()
        .filter(|&c| !is_invisible(c))
        .map(|c| match plain(c) {
            c if is_dash(c) => '-',
            c if c.is_whitespace() => ' ',
            c => c,
        })
        .flat_map(char::to_lowercase)
        .collect::<String>()
        .trim()
        .to_owned()
}

/// Replaces a typographic quote or apostrophe with the plain one.
pub(super) fn plain(c: char) -> char {
    match c {
        '“' | '”' | '„' | '‟' | '«' | '»' | '＂' => '"',
        '‘' | '’' | '‛' | 'ʼ' | '＇' => '\'',
        _ => c,
    }
}

/// Returns whether `c` is `-` or a character that looks like it.
pub(super) fn is_dash(c: char) -> bool {
    matches!(c, '-' | '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' | '﹣' | '－')
}

/// Returns whether the language ignores `c`.
///
/// Ignored are control characters other than white space, marks that change the direction of text, and characters without
/// width.
pub(super) fn is_invisible(c: char) -> bool {
    (c.is_control() && !c.is_whitespace())
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
