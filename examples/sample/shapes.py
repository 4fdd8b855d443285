"""Builds R2Z2 documents: a killmail in ESI's format, and zKillboard's block by zKillboard's rules."""

import hashlib
import random
from datetime import datetime, timedelta, timezone

from people import People
from universe import CONSTELLATIONS, GROUPS, SYSTEMS, TYPES

FIRST_SEQUENCE = 97_500_000
# Far above every existing killmail, so that no link of the demo leads to a real loss.
FIRST_KILLMAIL = 900_000_001
BEGIN = datetime(2026, 8, 18, 19, 0, tzinfo=timezone.utc)

SYSTEM_IDS = {name: number for number, (name, *_) in SYSTEMS.items()}
# Inventory flags: cargo, drone bay, first low, middle, high and rig slot.
CARGO, DRONES, LOW, MIDDLE, HIGH, RIG, FIGHTERS = 5, 87, 11, 19, 27, 92, 158
CAPITAL_GROUPS = {30, 485, 547, 659, 1538}

dice = random.Random("killfeed")
people = People(dice)
documents = []
# Bodies that only ESI has, because their documents contain `"esi": null`.
withheld = []


def item(name, flag, destroyed=0, dropped=0, inside=None):
    """Returns a stack of a victim's items."""
    stack = {"item_type_id": TYPES[name][0], "flag": flag, "singleton": 0}
    if destroyed:
        stack["quantity_destroyed"] = destroyed
    if dropped:
        stack["quantity_dropped"] = dropped
    if inside:
        stack["items"] = inside
    return stack


def fit(weapon, weapons, middle, low, rig=None):
    """Returns the items of a fitted ship. Half of the modules survive."""
    slots = [(weapon, HIGH, weapons)] + [(name, MIDDLE + i, 1) for i, name in enumerate(middle)]
    slots += [(name, LOW + i, 1) for i, name in enumerate(low)] + ([(rig, RIG, 3)] if rig else [])
    stacks = []
    for name, flag, count in slots:
        for slot in range(count):
            rigged = flag == RIG
            dropped = not rigged and dice.random() < 0.5
            stacks.append(item(name, flag + (slot if count > 1 else 0), int(not dropped), int(dropped)))
    return stacks


def attacker(who, ship=None, weapon=None, final=False, damage=0, security=0.0):
    """Returns an attacker. `who` comes from People."""
    record = dict(who) | {"damage_done": damage, "final_blow": final, "security_status": security}
    if ship:
        record["ship_type_id"] = TYPES[ship][0]
    if weapon:
        record["weapon_type_id"] = TYPES[weapon][0]
    return record


def gang(corporations, ships, count, damage, start=1):
    """Returns attackers from several corporations. They share the damage, and one has the final blow."""
    members = []
    shares = [dice.random() ** 2 + 0.01 for _ in range(count)]
    final = dice.randrange(count)
    for i in range(count):
        ship, weapon = ships[i % len(ships)]
        who = people.pilot(corporations[i % len(corporations)], start + i // len(corporations))
        dealt = round(damage * shares[i] / sum(shares))
        members.append(attacker(who, ship, weapon, i == final, dealt, round(dice.uniform(-9.9, 5.0), 1)))
    return sorted(members, key=lambda member: -member["damage_done"])


PRICES = {number: price for number, _, price in TYPES.values()}
GROUP_OF = {number: group for number, group, _ in TYPES.values()}


def worth(stacks, what):
    """Returns the value of destroyed or dropped items, including those in containers."""
    total = 0.0
    for stack in stacks:
        total += stack.get(what, 0) * PRICES[stack["item_type_id"]]
        total += worth(stack.get("items", []), what)
    return total


def labels(victim, attackers, system, total, flags):
    """Returns zKillboard's labels for this killmail, by zKillboard's rules."""
    _, security, constellation, _ = SYSTEMS[system]
    region = CONSTELLATIONS[constellation][1]
    group = GROUP_OF[victim["ship_type_id"]]
    found = [f"cat:{GROUPS[group][1]}"]
    pilots = sum("character_id" in one for one in attackers)
    steps = [(1000, "#:1000+"), (100, "#:100+"), (50, "#:50+"), (25, "#:25+"), (10, "#:10+"), (5, "#:5+"), (2, "#:2+")]
    found.append("solo" if flags["solo"] else next((text for least, text in steps if pilots >= least), "#:1"))
    found.append("npc" if flags["npc"] else "pvp")
    if flags["awox"]:
        found.append("awox")
    if group in CAPITAL_GROUPS:
        found.append("capital")
    if region == 10000070:
        found.append("loc:pochven")
    elif region >= 11000000:
        found.append("loc:w-space")
    else:
        found.append("loc:highsec" if security >= 0.45 else "loc:lowsec" if security >= 0 else "loc:nullsec")
    values = [(1e12, "isk:1t+"), (1e11, "isk:100b+"), (1e10, "isk:10b+"), (5e9, "isk:5b+"), (1e9, "isk:1b+")]
    found += [text for least, text in values if total >= least][:1]
    return found + flags["extra"]


def publish(document):
    """Appends a document with the next sequence."""
    document["sequence_id"] = FIRST_SEQUENCE + len(documents)
    documents.append(document)


def killmail(system, who, ship, attackers, stacks=(), damage=3_000, delay=40, awox=False, extra=(), war=0, esi=True):
    """Adds a killmail with zKillboard's block and every ESI field that the game fills."""
    number = FIRST_KILLMAIL + len(documents)
    fingerprint = hashlib.sha1(f"killfeed sample {number}".encode()).hexdigest()
    place = SYSTEM_IDS[system]
    time = BEGIN + timedelta(seconds=len(documents) * 31 + dice.randrange(20))
    structure = GROUPS[TYPES[ship][1]][1] in (22, 65)
    victim = dict(who) | {"ship_type_id": TYPES[ship][0], "damage_taken": damage}
    victim["position"] = {axis: round(dice.uniform(-4e12, 4e12), 3) for axis in "xyz"}
    victim["items"] = list(stacks)
    npc = not any("character_id" in one for one in attackers)
    pilots = [one for one in attackers if "character_id" in one]
    solo = len(attackers) == 1 and len(pilots) == 1 and not structure and ship != "Capsule"
    hull, dropped = PRICES[TYPES[ship][0]], worth(stacks, "quantity_dropped")
    destroyed = hull + worth(stacks, "quantity_destroyed")
    total = destroyed + dropped
    fitted = hull + sum(worth([one], "quantity_destroyed") + worth([one], "quantity_dropped")
                        for one in stacks if one["flag"] not in (CARGO, DRONES, FIGHTERS))
    flags = {"solo": solo, "npc": npc, "awox": awox, "extra": list(extra)}
    body = {
        "killmail_id": number, "killmail_time": time.strftime("%Y-%m-%dT%H:%M:%SZ"), "solar_system_id": place,
        "victim": victim, "attackers": attackers,
    } | ({"war_id": war} if war else {})
    if not esi:
        withheld.append(body)
    publish({
        "killmail_id": number, "hash": fingerprint, "esi": body if esi else None,
        "zkb": {
            "locationID": 40_000_000 + place % 100_000, "hash": fingerprint,
            "fittedValue": round(fitted, 2), "droppedValue": round(dropped, 2), "destroyedValue": round(destroyed, 2),
            "totalValue": round(total, 2), "totalDroppableValue": round(total - hull, 2),
            "points": 1 if npc else max(1, round(20 / len(attackers))),
            "npc": npc, "solo": solo, "awox": awox, "labels": labels(victim, attackers, place, total, flags),
            "attackerCount": len(attackers),
            "href": f"https://esi.evetech.net/killmails/{number}/{fingerprint}/",
        },
        "uploaded_at": int(time.timestamp()) + delay,
    })


def placeholder():
    """Adds a placeholder, which zKillboard uploads when a document has no data."""
    zkb = dict.fromkeys(["locationID", "hash", "fittedValue", "droppedValue", "destroyedValue", "totalValue", "points", "npc",
                         "solo", "awox", "labels"]) | {"href": "https://esi.evetech.net/killmails///"}
    publish({"killmail_id": None, "hash": None, "esi": None, "zkb": zkb, "uploaded_at": None})


def duplicate(back):
    """Repeats a killmail with a new sequence, as when zKillboard processes it again."""
    publish(dict(documents[-back]))
