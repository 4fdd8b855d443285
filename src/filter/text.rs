//! Characters: which count as which. Typing aids (phones, word processors, chat clients) replace plain quotes, apostrophes
//! and dashes by typographic ones, and copied text carries characters that nobody sees.

/// What two names have to have in common to be the same name: lower case, plain quotes, apostrophes, dashes and spaces,
/// nothing invisible, no white space around.
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

/// `c`, or the plain quote or apostrophe that it stands for.
pub(super) fn plain(c: char) -> char {
    match c {
        '“' | '”' | '„' | '‟' | '«' | '»' | '＂' => '"',
        '‘' | '’' | '‛' | 'ʼ' | '＇' => '\'',
        _ => c,
    }
}

/// `-` and everything that looks like it.
pub(super) fn is_dash(c: char) -> bool {
    matches!(c, '-' | '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' | '﹣' | '－')
}

/// Control characters that are no white space, marks that change the direction of text, and what has no width:
/// read as if they were not there.
pub(super) fn is_invisible(c: char) -> bool {
    (c.is_control() && !c.is_whitespace())
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
