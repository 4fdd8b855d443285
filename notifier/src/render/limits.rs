//! Discord's limits for embeds. An embed is made to fit by itself; here it is seen whether it still fits beside others.

use super::text;
use crate::sink::{Embed, Field};

/// Embeds of one message.
pub const EMBEDS: usize = 10;
/// Characters over all embeds of one message: titles, descriptions, field names and values, footers, authors.
pub(crate) const TOTAL: usize = 6_000;
pub(crate) const TITLE: usize = 256;
pub(crate) const FIELD_VALUE: usize = 1_024;
pub(crate) const FOOTER: usize = 2_048;
pub(crate) const DESCRIPTION: usize = 4_096;

/// Adds the embed if it still fits. The first one always does: no single embed made here comes near the total.
pub(crate) fn add(embeds: &mut Vec<Embed>, embed: Embed) -> bool {
    let used: usize = embeds.iter().map(characters).sum();
    let fits = embeds.len() < EMBEDS && used + characters(&embed) <= TOTAL;
    if fits {
        embeds.push(embed);
    }
    fits
}

/// Whether these fit into one message.
pub(crate) fn fit(embeds: &[Embed]) -> bool {
    embeds.len() <= EMBEDS && embeds.iter().map(characters).sum::<usize>() <= TOTAL
}

/// A field, or nothing where there is no value: Discord refuses empty ones.
pub(crate) fn field(name: &str, lines: &[String], inline: bool) -> Option<Field> {
    let lines: Vec<&str> = lines
        .iter()
        .map(String::as_str)
        .filter(|line| !line.is_empty())
        .collect();
    (!lines.is_empty()).then(|| Field {
        name: name.to_owned(),
        value: text::cut(&lines.join("\n"), FIELD_VALUE),
        inline,
    })
}

/// What Discord counts towards the total.
pub(crate) fn characters(embed: &Embed) -> usize {
    let fields = embed
        .fields
        .iter()
        .map(|field| text::length(&field.name) + text::length(&field.value));
    text::length(&embed.title)
        + text::length(&embed.description)
        + fields.sum::<usize>()
        + embed.footer.as_ref().map_or(0, |footer| text::length(&footer.text))
        + embed.author.as_ref().map_or(0, |author| text::length(&author.name))
}
