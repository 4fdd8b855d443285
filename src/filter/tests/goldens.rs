//! Golden files of descriptions, warnings and diagnostics.

use std::fmt::Write as _;

use super::*;

/// Valid filters, one per line.
const RIGHT: &str = r##"
region:Devoid group:(Dreadnought OR Marauder) value>=1b
attacker.alliance:"Goonswarm Federation" -victim.alliance:"Goonswarm Federation" space:(lowsec OR nullsec)
near(Turnur, 7ly) victim.category:Ship attackers>=5 NOT npc
attacker(alliance:498125261 AND group:Titan) OR victim.group:Titan
REGION:devoid AND Victim.Group:titan or NPC
-alliance:"Goonswarm Federation"
any.alliance:"goonswarm federation"
final.corporation:Dreddit -final.corporation:GoonWaffe
corporation!="space (group) ltd." faction:500001
attacker(NOT alliance:498125261) -attacker(alliance:498125261 OR group:Titan)
victim(corporation:Dreddit NOT (ship:Nyx OR -group:Titan))
ship:"two of a name" weapon:"Siege Module I" -weapon_group:485
character:"Mynxee O’Neill" ship:"Mordu's Special Warfare Unit Operative"
ship:"Fall of \"Hoth\"" item:"*Navy*" item_group:capsule -item:PLEX
system:C-J6MT OR system:"New Caldari" OR constellation:"Throne Worlds" -region:10000002
space:wormhole class:(5 OR 6) -class:3 class!=3
class!=(3 OR 4) class<=6 -space:abyssal space!=(highsec OR pochven)
security<0.5 security<=−0.5 security≥-1 security≠0.1 security:.5
near("New Caldari", 1ly) OR near(30000142, 1j) OR -near ( Turnur , 7.50LY )
value>=1.5B dropped<250k destroyed=1234567890 fitted!=1t value : 0
points>5 attackers:1 pilots<=10 damage!=(100 OR 200) -value>=1b
npc solo AND awox war -ganked ganked
label:"#:10+" label:(pvp OR loc:nullsec OR "tz:eu") -label:a"b label!="x y"
hour:22-3 hour:5 -hour:(7 OR 9–11) hour!=0
age<2h age>=1.5d age<=90m age>0.25m
((npc)) OR (solo (awox OR war))
NOT NOT npc NOT -solo -(npc OR solo)
(ship:Nyx OR ship:Brutix) AND (value>=1b)
-(group:Capsule OR attacker.ship:Nyx) -(npc solo)
-class!=(3 OR 4) -class:(5 OR 6) -attackers!=5 -attackers<2
-victim(ship:Nyx OR corporation:Dreddit) attacker(-(ship:Nyx corporation:Dreddit))
"##;

/// Valid filters with and without warnings, one per line.
const DOUBTFUL: &str = r##"
-group:Capsule value>=1b
value>=1b NOT (ship:Nyx OR victim.ship:Brutix)
group!=Capsule
category:Ship region:Devoid
any.category:Ship -any.group:Capsule
-category:Ship
region:Devoid npc OR solo
npc OR solo awox OR war
npc solo OR awox war
(npc solo) OR awox
npc AND solo OR awox
system:Jita space:nullsec
system:Jita system:Amarr npc
system:(Jita OR Turnur) space:nullsec
region:"The Forge" AND security<0.5
region:Domain space:highsec
npc (system:Jita OR system:Amarr) -region:"The Forge" -region:Domain
(npc (solo (system:Jita near(Turnur, 7ly))))
npc OR (space:lowsec class:5)
space:lowsec space:nullsec
value>=1b value<500m
value>=1b value<2b
attackers>5 attackers<7
attackers>5 attackers<6
npc solo -npc
victim.alliance:"Goonswarm Federation" victim.alliance:498125261
alliance:"Goonswarm Federation" alliance:498125261
attacker(ship:Nyx ship:Brutix)
hour:1-5 hour:22-0
"##;

/// Invalid texts, one per line.
const WRONG: &str = r##"
Titan
Goonswarm Federation
gankd
"Brutix Navy Issue"
ship:Brutix Navy Issue
region:The Forge npc
npc ship:(Brutix Navy Issue OR Nyx)
ship:(Nyx Brutix)
ship:("Nyx" "Brutix")
value>=1 000 000
value>=1,000,000
value>=1bn
value>=1,5b
value>=1.000.000
value>=1_000
value>=+5
value>=5.
value>=1kk
class:1..6
class:(1,2,3)
attackers:1,2,3
value>=1e9
value>="1b"
value>=-1b
value>=inf
value>=NaN
value>=lots
value=>1b
value==1b
value:>=1b
value<>1b
value
value 1b
attackers>=1k
attackers>=2.5
points>-1
security<0,5
class:0
class:26
class:(5,6)
class>(5 OR 6)
space:low
space:highsec|lowsec
space:outer
space<lowsec
shp:Nyx
alliances:x
corp:Dreddit
victim.corp:Dreddit
killer.alliance:Fraternity.
victim.weapon:Nyx
victim.value>1b
victim.system:Jita
attacker:Dreddit
ship
ship(Nyx OR Brutix)
ship:
ship: OR npc
ship:)
ship:()
ship:(Nyx
ship:(Nyx OR)
ship:(OR Nyx)
ship:(Nyx AND Brutix)
ship:(Nyx, Brutix)
ship:(NOT Nyx)
ship:-Nyx
ship:(Nyx OR (Brutix))
ship:(ship:Nyx OR group:Titan)
ship:Nyxx
ship:Titan
ship:""
ship:"Nyx
ship>Nyx
ship:*zzz*
ship:***
ship:0
ship:99999999999999999999
alliance:CONDI
alliance:"Goonswarm Federatoin"
alliance:Goon*
alliance:@blues
@blues
npc:true
npc=yes solo
npc, solo
npc && solo || awox
!npc
--npc
- npc
NOT
npc AND
AND npc
npc OR OR solo
npc AND OR solo
npc OR
()
(npc
npc)
(npc))
:Nyx
>5
attacker()
attacker(npc)
attacker(value>=1b OR ship:Nyx)
attacker(attacker.ship:Nyx)
attacker(victim.ship:Nyx)
attacker(ship:Nyx victim(ship:Brutix))
attacker(near(Jita, 5j))
victim(weapon:Nyx)
final(alliance:498125261 -ship:Nyx)
any(alliance:498125261)
near
near:Jita
attacker npc
ship Brutix Navy Issue npc
ship:Nyx near npc
victim.foo:x
near()
near(Jita)
near(Jita 7ly)
near(New Caldari, 7ly)
near(Jitta, 7ly)
near(J*, 7ly)
near(Jita, 7)
near(Jita, 7 ly)
near(Jita, 7jumps)
near(Jita, 2.5j)
near(Jita, -5j)
near(Jita, far)
near(Jita, 7ly
near(99, 7ly)
hour:24
hour:22:00-03:00
hour<5
hour:late
age:2h
age<2
age<2hours
age<90s
age<1.00001h
label:
über:x ship:Nyxx
“Goonswarm” OR npc
"##;

#[test]
fn descriptions_match_the_golden_file() {
    let mut seen = String::new();
    for text in lines(RIGHT) {
        match compile(text, &Universe) {
            CompileOutcome::Compiled(compiled) => {
                writeln!(seen, "{text}\n  = {}\n  {}\n", compiled.canonical, compiled.description).unwrap();
            }
            other => writeln!(seen, "{text}\n{}", pointed(text, &other)).unwrap(),
        }
    }
    insta::assert_snapshot!(seen);
}

#[test]
fn warnings_match_the_golden_file() {
    let mut seen = String::new();
    for text in lines(DOUBTFUL) {
        writeln!(seen, "{text}").unwrap();
        for warning in compiled(text).warnings {
            point(&mut seen, text, &warning);
            for suggestion in &warning.suggestions {
                assert!(
                    matches!(compile(suggestion, &Universe), CompileOutcome::Compiled(_)),
                    "{suggestion}"
                );
            }
        }
        seen.push('\n');
    }
    insta::assert_snapshot!(seen);
}

#[test]
fn diagnostics_match_the_golden_file() {
    let mut seen = String::new();
    for text in lines(WRONG) {
        writeln!(seen, "{text}\n{}", pointed(text, &compile(text, &Universe))).unwrap();
    }
    insta::assert_snapshot!(seen);
}

fn lines(table: &str) -> impl Iterator<Item = &str> {
    table.lines().filter(|line| !line.is_empty())
}

fn pointed(text: &str, outcome: &CompileOutcome) -> String {
    let mut seen = String::new();
    match outcome {
        CompileOutcome::Invalid(diagnostics) => diagnostics
            .iter()
            .for_each(|diagnostic| point(&mut seen, text, diagnostic)),
        other => writeln!(seen, "??? {other:?}").unwrap(),
    }
    seen
}

/// Writes carets under the span of a diagnostic, its message and its suggestions.
fn point(seen: &mut String, text: &str, diagnostic: &v1::Diagnostic) {
    let (start, end) = (diagnostic.start as usize, diagnostic.end as usize);
    let before = text[..start].chars().count();
    let carets = text[start..end].chars().count().max(1);
    writeln!(seen, "{}{}", " ".repeat(before), "^".repeat(carets)).unwrap();
    writeln!(seen, "  {}", diagnostic.message).unwrap();
    for suggestion in &diagnostic.suggestions {
        writeln!(seen, "  -> {suggestion}").unwrap();
    }
}
