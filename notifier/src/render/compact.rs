//! The style `compact`: an embed of two lines under its title.

use super::{
    Item, full, limits,
    names::{self, Names},
    text,
};
use crate::sink::Embed;

pub(super) fn embed(item: &Item<'_>) -> Embed {
    let killmail = item.killmail;
    let names = Names(killmail);
    let victim = killmail.victim.as_ref();
    // A structure's name stands in the title already.
    let victim = victim.map(|v| names.one_line(v.character_id, v.corporation_id, v.alliance_id, 0));
    let place = killmail.location.as_ref().map(|location| {
        let region = names::region(location);
        let system = names::system(location);
        if region.is_empty() {
            system
        } else {
            format!("{system} · {region}")
        }
    });
    let blow = full::final_blow(killmail)
        .map(|a| names.one_line(a.character_id, a.corporation_id, a.alliance_id, a.ship_type_id));
    let others = killmail.attackers.len().saturating_sub(1);
    let blow = match (blow, others) {
        (Some(blow), 0) => Some(format!("by {blow}")),
        (Some(blow), others) => Some(format!("by {blow} +{others}")),
        (None, _) => None,
    };
    let when = full::kill_seconds(killmail).map(|seconds| format!("<t:{seconds}:R>"));
    let line = |parts: [Option<String>; 2]| parts.into_iter().flatten().collect::<Vec<_>>().join(" · ");
    let lines = [line([victim, place]), line([blow, when])];
    let lines: Vec<String> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    Embed {
        description: text::cut(&lines.join("\n"), limits::DESCRIPTION),
        ..full::frame(item)
    }
}
