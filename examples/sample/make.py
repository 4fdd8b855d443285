#!/usr/bin/env python3
"""Writes the sample files: fictional killmails in the format of zKillboard's R2Z2 feed, names, and static data.

    python3 examples/sample/make.py

Every run writes the same files. As in the real feed, one document has a null `esi`, one is a placeholder, and one killmail
is repeated.
"""

import json
from pathlib import Path

from people import CORPORATIONS
from shapes import (CARGO, DRONES, FIGHTERS, HIGH, SYSTEM_IDS, attacker, dice, documents, duplicate, fit, gang, item, killmail,
                    people, placeholder, withheld)
from universe import CATEGORIES, CONSTELLATIONS, FACTIONS, GATES, GROUPS, REGIONS, SYSTEMS, TYPES

HERE = Path(__file__).parent
LIGHT_YEAR = 9.46e15


def fleet_fight():
    """A structure dies to 300 pilots in Tribute."""
    muninns = [("Muninn", "720mm Howitzer Artillery II"), ("Ferox", "Antimatter Charge M"), ("Sabre", "200mm AutoCannon II")]
    tackled = fit("Heavy Missile Launcher II", 5, ["Large Shield Extender II", "50MN Microwarpdrive II"],
                  ["Ballistic Control System II", "Damage Control II"], "Large Core Defense Field Extender I")
    for pilot in range(1, 7):
        killmail("M-OEE8", people.pilot("aurora", pilot), ["Cerberus", "Onyx"][pilot % 2],
                 gang(["forge", "ash", "tide"], muninns, 24 + 3 * pilot, 31_000), tackled, 31_000)
    guardian = fit("1600mm Steel Plates II", 2, ["50MN Microwarpdrive II"], ["Multispectrum Energized Membrane II"] * 2)
    killmail("M-OEE8", people.pilot("hush", 1), "Guardian", gang(["forge", "ash"], muninns, 41, 44_000), guardian, 44_000)
    killmail("M-OEE8", people.pilot("ash", 2), "Sabre", gang(["aurora", "polar", "hush"], [("Cerberus", "Heavy Missile Launcher II")], 18, 9_000),
             fit("200mm AutoCannon II", 7, ["5MN Microwarpdrive II", "Warp Scrambler II"], ["Damage Control II"]), 9_000)
    bays = [item("Standup Point Defense Battery I", HIGH, 1), item("Standup Cloning Center I", 164, 1),
            item("Templar II", FIGHTERS, 20, 7)]
    killmail("M-OEE8", people.organisation("aurora"), "Fortizar",
             gang(["forge", "ash", "tide", "brine"], [*muninns, ("Nyx", "Templar II"), ("Leshak", "Supratidal Entropic Disintegrator II")], 300, 30_000_000),
             bays, 30_000_000, delay=75)


def capitals_near_turnur():
    """A fight escalates over a bait dreadnought."""
    artillery = fit("Quad 3500mm Siege Artillery II", 3, ["Multispectrum Shield Hardener II"] * 2, ["Gyrostabilizer II"] * 3)
    killmail("Vard", people.pilot("tide", 1), "Naglfar",
             gang(["forge", "ash"], [("Revelation", "Quad Mega Pulse Laser II"), ("Loki", "425mm AutoCannon II")], 31, 1_400_000),
             [*artillery, item("Siege Module II", HIGH + 4, 0, 1), item("Nanite Repair Paste", CARGO, 800, 400)], 1_400_000)
    plates = fit("Mega Pulse Laser II", 1, ["Cynosural Field Generator I"], ["Multispectrum Energized Membrane II"] * 3)
    killmail("Siseide", people.pilot("brine", 1), "Archon", gang(["forge", "ash"], [("Naglfar", "Quad 3500mm Siege Artillery II")], 12, 2_100_000),
             [*plates, item("Templar II", FIGHTERS, 18, 9)], 2_100_000)
    killmail("Turnur", people.pilot("ash", 1), "Apostle", gang(["tide", "brine"], [("Vargur", "1400mm Howitzer Artillery II"), ("Sabre", "200mm AutoCannon II")], 22, 1_900_000),
             plates, 1_900_000)
    killmail("Turnur", people.pilot("tide", 2), "Capsule", [attacker(people.pilot("ash", 3), "Sabre", "200mm AutoCannon II", True, 440, -5.1)], damage=440)


def titan():
    """An Avatar dies in 1DQ1-A."""
    beam = [item("Bosonic Field Generator", HIGH, 1), item("Quad Mega Pulse Laser II", HIGH + 1, 1),
            item("Quad Mega Pulse Laser II", HIGH + 2, 0, 1), *fit("Heat Sink II", 0, ["Multispectrum Shield Hardener II"], ["Heat Sink II"] * 3),
            item("PLEX", CARGO, 0, 500)]
    ships = [("Nyx", "Templar II"), ("Erebus", "Bosonic Field Generator"), ("Naglfar", "Quad 3500mm Siege Artillery II"), ("Onyx", "Heavy Missile Launcher II")]
    killmail("1DQ1-A", people.pilot("hush", 2), "Avatar", gang(["forge", "ash", "aurora"], ships, 96, 42_000_000), beam, 42_000_000, delay=61)


def ganks():
    """Ganks in highsec, in Uedama."""
    catalysts = [("Catalyst", "Light Neutron Blaster II"), ("Talos", "Neutron Blaster Cannon II")]
    cargo = [item("Large Skill Injector", CARGO, 6, 4), item("Morphite", CARGO, 120_000, 90_000),
             item("Giant Secure Container", CARGO, 1, 0, [item("Tengu Blueprint", 0, 2), item("PLEX", 0, 0, 260)])]
    killmail("Uedama", people.pilot("haul", 1), "Charon", gang(["gank"], catalysts, 27, 205_000), cargo, 205_000, extra=["ganked"])
    concord = [attacker(people.organisation("concord"), "CONCORD Police Commander", None, True, 1_900)]
    killmail("Uedama", people.pilot("gank", 1), "Catalyst", concord, fit("Light Neutron Blaster II", 8, [], ["Magnetic Field Stabilizer II"] * 2), 1_900)
    killmail("Sivala", people.pilot("haul", 2), "Orca", gang(["gank"], catalysts, 19, 130_000), [item("Isogen", CARGO, 800_000, 300_000)], 130_000, extra=["ganked"])
    killmail("Perimeter", people.pilot("haul", 3), "Badger", [attacker(people.pilot("gank", 4), "Tornado", "1400mm Howitzer Artillery II", True, 7_200, -9.8)],
             [item("Tritanium", CARGO, 200_000, 100_000)], 7_200)
    killmail("Nourvukaiken", people.pilot("mine", 1), "Hulk", gang(["gank"], catalysts[:1], 4, 16_000), [], 16_000, extra=["ganked"])
    killmail("Jita", people.pilot("haul", 4), "Bustard", gang(["gank"], catalysts[1:], 9, 88_000), cargo[:1], 88_000)


def lowsec():
    """Faction warfare with frigates, including an awox."""
    killmail("Amamake", people.pilot("tlf", 1), "Rifter", [attacker(people.pilot("solo", 1), "Merlin", "Light Neutron Blaster II", True, 2_410, 1.2)],
             fit("200mm AutoCannon II", 3, ["5MN Microwarpdrive II", "Warp Scrambler II"], ["Damage Control II"]), 2_410)
    killmail("Kourmonen", people.pilot("crusade", 1), "Imperial Navy Slicer", gang(["tlf"], [("Federation Navy Comet", "Light Neutron Blaster II")], 3, 4_100), [], 4_100)
    killmail("Huola", people.pilot("tlf", 2), "Kikimora", gang(["crusade"], [("Svipul", "200mm AutoCannon II"), ("Hecate", "Light Neutron Blaster II")], 5, 6_800),
             fit("Light Entropic Disintegrator II", 1, ["5MN Microwarpdrive II", "Stasis Webifier II"], ["Damage Control II"]), 6_800)
    killmail("Tama", people.pilot("mine", 2), "Venture", [attacker(people.pilot("solo", 2), "Astero", "Warrior II", True, 1_150, -2.4)], damage=1_150)
    killmail("Rancer", people.pilot("haul", 5), "Rhea", gang(["brine", "tide"], [("Machariel", "425mm AutoCannon II"), ("Vargur", "1400mm Howitzer Artillery II")], 14, 390_000),
             [item("Morphite", CARGO, 400_000, 350_000), item("Large Skill Injector", CARGO, 5, 9)], 390_000)
    killmail("Dal", people.pilot("ash", 4), "Gila", [attacker(people.pilot("ash", 5), "Loki", "425mm AutoCannon II", True, 18_200, 0.3)],
             fit("Heavy Missile Launcher II", 4, ["Large Shield Extender II"], ["Ballistic Control System II"]), 18_200, awox=True)
    killmail("Ontorn", people.pilot("lamp", 1), "Astero", gang(["tide"], [("Cynabal", "425mm AutoCannon II")], 2, 5_600), [], 5_600, war=744_001)
    killmail("Auga", people.organisation("tide"), "Mobile Depot", gang(["forge"], [("Stabber", "200mm AutoCannon II")], 1, 9_000), [], 9_000)
    killmail("Frerstorn", people.pilot("brine", 2), "Hurricane", gang(["forge", "ash"], [("Drake", "Heavy Missile Launcher II")], 7, 41_000),
             fit("425mm AutoCannon II", 6, ["50MN Microwarpdrive II"], ["Gyrostabilizer II"] * 2), 41_000, esi=False)


def elsewhere():
    """Kills in wormholes, Pochven and nullsec, and by NPCs."""
    killmail("J121006", people.pilot("moth", 1), "Proteus", gang(["lamp"], [("Loki", "425mm AutoCannon II"), ("Tengu", "Heavy Missile Launcher II")], 5, 52_000),
             fit("Neutron Blaster Cannon II", 5, ["Warp Disruptor II"], ["1600mm Steel Plates II"], "Medium Trimark Armor Pump II"), 52_000, awox=True)
    killmail("J104809", people.pilot("aurora", 9), "Paladin", gang(["moth", "lamp"], [("Leshak", "Supratidal Entropic Disintegrator II"), ("Manticore", "Cruise Missile Launcher II")], 11, 240_000),
             fit("Mega Pulse Laser II", 4, ["50MN Microwarpdrive II"], ["Heat Sink II"] * 3), 240_000)
    killmail("Thera", people.pilot("solo", 3), "Stratios", gang(["lamp"], [("Sabre", "200mm AutoCannon II")], 3, 28_000), [], 28_000)
    killmail("Niarja", people.pilot("haul", 6), "Drake", gang(["tri"], [("Vedmak", "Supratidal Entropic Disintegrator II")], 6, 60_000),
             fit("Heavy Missile Launcher II", 7, ["Large Shield Extender II"] * 2, ["Ballistic Control System II"] * 3), 60_000)
    killmail("Raravoss", people.pilot("tri", 7), "Leshak", gang(["aurora"], [("Tornado", "1400mm Howitzer Artillery II")], 13, 190_000), [], 190_000)
    rats = [attacker(people.organisation("guristas"), "Guristas Annihilator", None, True, 21_000), attacker(people.organisation("guristas"), "Guristas Inferno", None, False, 9_500)]
    killmail("T5ZI-S", people.pilot("mine", 3), "Rattlesnake", rats, [item("Ogre II", DRONES, 2, 1)], 30_500)
    killmail("C-J6MT", people.pilot("polar", 3), "Retriever", [attacker(people.pilot("brine", 8), "Sin", "Ogre II", True, 12_000, -1.9)], damage=12_000)
    killmail("HED-GP", people.organisation("polar"), "Mobile Tractor Unit", gang(["brine"], [("Manticore", "Cruise Missile Launcher II")], 2, 48_000), [], 48_000)
    killmail("HED-GP", people.pilot("polar", 4), "Thanatos", gang(["brine", "tide", "hush"], [("Naglfar", "Quad 3500mm Siege Artillery II"), ("Muninn", "720mm Howitzer Artillery II")], 38, 2_300_000),
             [item("Templar II", FIGHTERS, 30, 12)], 2_300_000, delay=52)


def roams(count):
    """Small fights between other corporations."""
    weapons = {"Caracal": "Heavy Missile Launcher II", "Vexor": "Hammerhead II", "Stabber": "425mm AutoCannon II", "Thrasher": "200mm AutoCannon II",
               "Brutix": "Neutron Blaster Cannon II", "Ishtar": "Ogre II", "Cynabal": "425mm AutoCannon II", "Raven": "Cruise Missile Launcher II"}
    places = ["Isbrabata", "Aset", "Uisper", "Vimeini", "Sujarento", "Dodixie", "HED-GP", "T5ZI-S", "J104809", "Amamake"]
    sides = list(CORPORATIONS)
    for fight in range(count):
        ours, theirs = dice.sample(sides[:9], 2)
        victim, hunter = dice.sample(sorted(weapons), 2)
        size, damage = dice.choice([1, 1, 2, 3, 5, 8]), dice.randrange(4_000, 60_000)
        killmail(places[fight % len(places)], people.pilot(ours, 20 + fight), victim, gang([theirs], [(hunter, weapons[hunter])], size, damage, 30),
                 fit(weapons[victim], 4, ["Warp Disruptor II", "50MN Microwarpdrive II"], ["Damage Control II"]), damage)


def play():
    """Returns all scenes, interleaved so that each one starts early."""
    lowsec()
    capitals_near_turnur()
    placeholder()
    ganks()
    duplicate(3)
    elsewhere()
    roams(12)
    fleet_fight()
    titan()


def write_lines(path, records):
    """Writes JSON lines."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records))


def static_data():
    """Writes the files of CCP's static data export that the services read, with only the sample's universe."""
    def name(text):
        return {"name": {"en": text}}

    gates, edges = {}, []
    for i, (a, b) in enumerate(GATES):
        here, there = SYSTEM_IDS[a], SYSTEM_IDS[b]
        one, other = 50_990_001 + 2 * i, 50_990_002 + 2 * i
        edges += [(one, here, there, other), (other, there, here, one)]
        gates.setdefault(here, []).append(one)
        gates.setdefault(there, []).append(other)
    folder = HERE / "static-data"
    write_lines(folder / "_sde.jsonl", [{"_key": "sde", "buildNumber": 1, "releaseDate": "2026-08-20T00:00:00Z"}])
    write_lines(folder / "mapRegions.jsonl",
                [{"_key": key} | name(text) | {"wormholeClassID": cls} for key, (text, cls) in REGIONS.items()])
    write_lines(folder / "mapConstellations.jsonl",
                [{"_key": key} | name(text) | {"regionID": region} for key, (text, region) in CONSTELLATIONS.items()])
    systems = []
    for key, (text, security, constellation, position) in SYSTEMS.items():
        place = {axis: value * LIGHT_YEAR for axis, value in zip("xyz", position)}
        systems.append({"_key": key} | name(text) | {
            "constellationID": constellation, "regionID": CONSTELLATIONS[constellation][1],
            "securityStatus": security, "position": place, "stargateIDs": gates.get(key, [])})
    write_lines(folder / "mapSolarSystems.jsonl", systems)
    write_lines(folder / "mapStargates.jsonl",
                [{"_key": gate, "solarSystemID": here, "destination": {"solarSystemID": there, "stargateID": other}}
                 for gate, here, there, other in edges])
    write_lines(folder / "types.jsonl",
                [{"_key": key, "groupID": group} | name(text) | {"published": GROUPS[group][1] != 11}
                 for text, (key, group, _) in sorted(TYPES.items(), key=lambda entry: entry[1][0])])
    write_lines(folder / "groups.jsonl",
                [{"_key": key, "categoryID": category} | name(text) | {"published": category != 11}
                 for key, (text, category) in GROUPS.items()])
    write_lines(folder / "categories.jsonl",
                [{"_key": key} | name(text) | {"published": key != 11} for key, text in CATEGORIES.items()])
    write_lines(folder / "factions.jsonl", [{"_key": key} | name(text) for key, text in FACTIONS.items()])


if __name__ == "__main__":
    play()
    write_lines(HERE / "killmails.jsonl", documents)
    write_lines(HERE / "esi.jsonl", withheld)
    lines = ",\n".join(json.dumps(person, separators=(",", ":")) for person in people.names())
    (HERE / "names.json").write_text(f"[\n{lines}\n]\n")
    static_data()
    print(f"{len(documents)} documents, {len(people.names())} names")
