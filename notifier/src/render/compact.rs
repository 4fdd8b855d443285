//! The style `compact`: two lines, the title and one below it.

use super::{
    PostItem, full, limits,
    names::{self, NameFormatter},
    place, text,
};
use crate::sink::{Embed, Picture};

pub(super) fn embed(item: &PostItem<'_>) -> Embed {
    let killmail = item.killmail;
    let place = killmail.location.as_ref().map(|location| {
        let region = names::region(location, false);
        let system = names::system(location, false);
        if region.is_empty() {
            system
        } else {
            format!("{system} · {region}")
        }
    });
    let total = killmail.value.as_ref().and_then(|value| value.total);
    // An amount stands in the title already.
    let value = (!total.is_some_and(text::is_amount)).then(|| "value unknown".to_owned());
    let blow = full::final_blow(killmail)
        .filter(|attacker| attacker.character_id != 0 && attacker.ship_type_id != 0)
        .map(|attacker| names::with_article(&NameFormatter::plain(killmail).ship(attacker.ship_type_id, "")))
        .map(|ship| format!("by {ship}"));
    let when = full::kill_seconds(killmail).map(|seconds| format!("<t:{seconds}:R>"));
    let gate = killmail.location.as_ref().and_then(place::gate);
    let distance = place::distances(&item.distances, 1).pop();
    let parts = [place, gate, distance, blow, value, when, full::late(killmail)];
    let line = parts.into_iter().flatten().collect::<Vec<_>>().join(" · ");
    let mut embed = Embed {
        description: text::cut(&line, limits::DESCRIPTION),
        ..full::frame(item)
    };
    if let Some(Picture { url }) = &mut embed.thumbnail {
        *url = url.replace("size=128", "size=64");
    }
    embed
}
