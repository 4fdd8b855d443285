//! `help`: the filter language on one screen.

use crate::discord::interactions::{GOOD, InteractionResponse, Reply};

/// As people would write them.
pub(super) const EXAMPLES: [(&str, &str); 6] = [
    (
        "near(Turnur, 7ly) group:(Dreadnought OR Carrier OR Titan)",
        "capitals near staging, lost or fighting",
    ),
    (
        "region:Devoid value>=1b -victim.group:Capsule",
        "expensive losses in a region, without pods",
    ),
    (
        "attacker(group:Titan) space:(lowsec OR nullsec)",
        "a titan among the attackers",
    ),
    (
        "victim.category:Structure OR item_group:Cynosural*",
        "structures, and ships that carried a cyno",
    ),
    ("system:(Jita OR Perimeter) ganked", "ganks at the trade hub"),
    (
        "class:5 attackers>=10 NOT npc hour:18-23",
        "fleets in C5 space, in the evening (EVE time)",
    ),
];

pub(super) fn help() -> InteractionResponse {
    let examples: Vec<String> = EXAMPLES
        .iter()
        .map(|(filter, what)| format!("`{filter}`\n{what}"))
        .collect();
    let reply = Reply::new(
        GOOD,
        "Filters",
        "Conditions next to each other must all match. Combine them with `OR`, `NOT` (or `-`) and parentheses. \
         Put names with spaces in quotes: `alliance:\"Goonswarm Federation\"`. Start typing and choose a suggestion.",
    )
    .field(
        "Pilots and ships",
        "`character corporation alliance faction ship group category weapon weapon_group`: the victim or an attacker. \
         For one of them only, put `victim.`, `attacker.` or `final.` (final blow) in front. \
         `attacker(alliance:X AND group:Titan)`: both on the same attacker. `item: item_group:` carried by the victim.",
    )
    .field(
        "Place",
        "`system constellation region`, `space:highsec|lowsec|nullsec|wormhole|abyssal|pochven`, `class:1..25`, \
         `security<0.5`, `near(System, 7ly)`, `near(System, 5j)`\n\
         Jump ranges: 7 ly dreads, carriers, FAX · 6 ly supers and titans · 8 ly black ops · 10 ly jump freighters \
         (Jump Drive Calibration V). Ansiblex gates are not counted.",
    )
    .field(
        "Value, time and type",
        "`value dropped destroyed fitted` in ISK (`>=1.5b`), `attackers pilots damage points`, \
         `hour:22-3`, `age<2h`, `npc solo awox war ganked`, `label:\"...\"`",
    )
    .field("Examples", examples.join("\n"))
    .field(
        "Commands",
        "`subscribe` with `us` marks posts as kill or loss, and `side` posts only one of them. `preview` tries a filter. \
         `why` explains why a kill was posted, or why not. `check` shows the bot's permissions in a channel.",
    );
    InteractionResponse::Say(reply)
}
