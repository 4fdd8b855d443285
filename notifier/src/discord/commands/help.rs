//! `help`: the filter language on one screen.

use crate::discord::interactions::{GOOD, InteractionResponse, Reply};

/// As people would write them.
pub(super) const EXAMPLES: [(&str, &str); 6] = [
    (
        "near(Turnur, 7ly) group:(Dreadnought OR Carrier OR Titan)",
        "capitals around staging, lost or fighting",
    ),
    (
        "region:Devoid value>=1b -victim.group:Capsule",
        "expensive losses in a region, no pods",
    ),
    (
        "attacker(group:Titan) space:(lowsec OR nullsec)",
        "a titan on the killmail",
    ),
    (
        "victim.category:Structure OR item_group:Cynosural*",
        "structures, or somebody with a cyno aboard",
    ),
    ("system:(Jita OR Perimeter) ganked", "ganks at the hub"),
    (
        "class:5 attackers>=10 NOT npc hour:18-23",
        "fleets in C5 space, in the evening (UTC)",
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
        "Terms side by side must all hold; `OR`, `NOT` or `-`, and parentheses do what they say. \
         Names with spaces stand in quotes: `alliance:\"Goonswarm Federation\"`. Begin to type and take what is offered.",
    )
    .field(
        "Who",
        "`character corporation alliance faction ship group category weapon weapon_group` of the victim or some attacker; \
         with `victim.`, `attacker.` or `final.` before it of that one. \
         `attacker(alliance:X AND group:Titan)`: both of one attacker. `item: item_group:` what the victim carried.",
    )
    .field(
        "Where",
        "`system constellation region`, `space:highsec|lowsec|nullsec|wormhole|abyssal|pochven`, `class:1..25`, \
         `security<0.5`, `near(System, 7ly)`, `near(System, 5j)`",
    )
    .field(
        "How much, when, what kind",
        "`value dropped destroyed fitted` in ISK (`>=1.5b`), `attackers pilots damage points`, \
         `hour:22-3`, `age<2h`, `npc solo awox war ganked`, `label:\"...\"`",
    )
    .field("Examples", examples.join("\n"))
    .field(
        "Commands",
        "`subscribe` with `us` and `side` tells kills from losses; `preview` tries a filter; `why` says why something was posted, \
         or not; `check` what I may do in a channel.",
    );
    InteractionResponse::Say(reply)
}
