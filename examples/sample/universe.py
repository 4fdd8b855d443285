"""The places and types of EVE Online that the sample, the bot's help and its buttons use.

Names and ids are those of the game, and security is as the game displays it. Positions are in light years, rounded to half a
light year, which is accurate enough for "within 7 light years of Turnur". Prices are rough estimates. Real services use CCP's
own static data.
"""

# region id: (name, wormhole class)
REGIONS = {
    10000002: ("The Forge", 7),
    10000009: ("Insmother", 9),
    10000010: ("Tribute", 9),
    10000014: ("Catch", 9),
    10000016: ("Lonetrek", 7),
    10000030: ("Heimatar", 7),
    10000032: ("Sinq Laison", 7),
    10000033: ("The Citadel", 7),
    10000036: ("Devoid", 7),
    10000038: ("The Bleak Lands", 7),
    10000042: ("Metropolis", 7),
    10000043: ("Domain", 7),
    10000060: ("Delve", 9),
    10000070: ("Pochven", 25),
    11000021: ("D-R00021", 4),
    11000029: ("E-R00029", 5),
    11000031: ("G-R00031", 12),
}

# constellation id: (name, region id)
CONSTELLATIONS = {
    20000020: ("Kimotoro", 10000002),
    20000113: ("QA-P7J", 10000009),
    20000124: ("1P-VL2", 10000010),
    20000169: ("UX3-N2", 10000014),
    20000201: ("Okela", 10000016),
    20000307: ("Eugidi", 10000042),
    20000308: ("Essin", 10000042),
    20000322: ("Throne Worlds", 10000043),
    20000372: ("Hed", 10000030),
    20000389: ("Coriault", 10000032),
    20000398: ("Aeman", 10000032),
    20000405: ("Caldari Border Zone", 10000033),
    20000406: ("Kantanen", 10000033),
    20000412: ("Isoma", 10000033),
    20000448: ("Sasen", 10000038),
    20000692: ("SPNZ-Z", 10000060),
    20000696: ("O-EIMK", 10000060),
    20000788: ("Krai Svarog", 10000070),
    21000204: ("D-C00204", 11000021),
    21000294: ("E-C00294", 11000029),
    21000324: ("G-C00324", 11000031),
}

# system id: (name, displayed security, constellation id, position in light years)
SYSTEMS = {
    30000142: ("Jita", 0.9, 20000020, (-13.5, 6.5, 12.5)),
    30000144: ("Perimeter", 0.9, 20000020, (-15.0, 7.0, 11.0)),
    30000772: ("C-J6MT", -0.3, 20000113, (13.5, 1.0, -13.0)),
    30000848: ("M-OEE8", -0.2, 20000124, (-15.5, 8.5, 21.0)),
    30001161: ("HED-GP", -0.1, 20000169, (-10.0, 2.0, -22.0)),
    30001376: ("Nourvukaiken", 0.8, 20000201, (-15.5, 9.5, 12.5)),
    30002083: ("Uisper", 0.4, 20000307, (-13.5, 3.0, 3.0)),
    30002084: ("Aset", 0.4, 20000307, (-14.5, 3.0, 3.0)),
    30002086: ("Turnur", 0.4, 20000307, (-14.0, 3.5, 2.5)),
    30002087: ("Isbrabata", 0.4, 20000307, (-14.5, 3.5, 2.5)),
    30002088: ("Vimeini", 0.4, 20000307, (-15.0, 4.0, 2.0)),
    30002090: ("Frerstorn", 0.3, 20000308, (-14.0, 2.0, 3.0)),
    30002091: ("Ontorn", 0.3, 20000308, (-14.0, 2.5, 2.5)),
    30002187: ("Amarr", 0.9, 20000322, (-21.5, 4.5, -6.0)),
    30002537: ("Amamake", 0.4, 20000372, (-13.0, 4.5, 0.5)),
    30002538: ("Vard", 0.4, 20000372, (-13.5, 4.0, 0.5)),
    30002539: ("Siseide", 0.3, 20000372, (-14.0, 4.5, 0.5)),
    30002541: ("Dal", 0.4, 20000372, (-13.5, 3.5, 1.0)),
    30002542: ("Auga", 0.4, 20000372, (-13.5, 4.5, 0.5)),
    30002659: ("Dodixie", 0.9, 20000389, (-20.0, 5.5, 3.0)),
    30002718: ("Rancer", 0.4, 20000398, (-16.0, 3.0, 7.0)),
    30002765: ("Sivala", 0.6, 20000405, (-18.5, 6.5, 8.0)),
    30002768: ("Uedama", 0.5, 20000406, (-17.5, 7.5, 9.0)),
    30002809: ("Sujarento", 0.3, 20000412, (-20.0, 7.5, 11.5)),
    30002813: ("Tama", 0.3, 20000412, (-20.5, 8.0, 12.0)),
    30003067: ("Huola", 0.4, 20000448, (-15.0, 5.0, -4.0)),
    30003068: ("Kourmonen", 0.4, 20000448, (-14.5, 4.5, -3.5)),
    30003495: ("Raravoss", -1.0, 20000788, (-18.0, 5.0, -8.0)),
    30003504: ("Niarja", -1.0, 20000788, (-19.5, 5.0, -2.5)),
    30004735: ("T5ZI-S", -0.1, 20000692, (-46.5, 4.0, -25.0)),
    30004759: ("1DQ1-A", -0.4, 20000696, (-47.5, 4.5, -25.5)),
    31000005: ("Thera", -1.0, 21000324, (761.0, 162.0, -1004.5)),
    31001712: ("J121006", -1.0, 21000204, (808.0, 1.0, -962.0)),
    31002352: ("J104809", -1.0, 21000294, (800.5, -1.0, -1057.0)),
}

# Stargates between systems of the sample (both ways).
GATES = [
    ("Jita", "Perimeter"), ("Uedama", "Sivala"), ("Tama", "Nourvukaiken"), ("Tama", "Sujarento"),
    ("Turnur", "Uisper"), ("Turnur", "Aset"), ("Turnur", "Isbrabata"), ("Aset", "Vimeini"), ("Isbrabata", "Vimeini"),
    ("Frerstorn", "Ontorn"), ("Amamake", "Vard"), ("Amamake", "Siseide"), ("Amamake", "Dal"), ("Amamake", "Auga"),
    ("Vard", "Siseide"), ("Vard", "Dal"), ("Siseide", "Dal"), ("Siseide", "Auga"), ("Dal", "Auga"),
    ("Auga", "Kourmonen"), ("Kourmonen", "Huola"), ("1DQ1-A", "T5ZI-S"), ("Niarja", "Raravoss"),
]

CATEGORIES = {
    2: "Celestial", 4: "Material", 5: "Accessories", 6: "Ship", 7: "Module", 8: "Charge", 9: "Blueprint", 11: "Entity",
    18: "Drone", 22: "Deployable", 25: "Asteroid", 65: "Structure", 66: "Structure Module", 87: "Fighter",
}

# group id: (name, category id)
GROUPS = {
    18: ("Mineral", 4), 25: ("Frigate", 6), 26: ("Cruiser", 6), 27: ("Battleship", 6), 28: ("Hauler", 6),
    29: ("Capsule", 6), 30: ("Titan", 6), 31: ("Shuttle", 6), 38: ("Shield Extender", 7), 46: ("Propulsion Module", 7),
    52: ("Warp Scrambler", 7), 53: ("Energy Weapon", 7), 55: ("Projectile Weapon", 7), 59: ("Gyrostabilizer", 7),
    60: ("Damage Control", 7), 65: ("Stasis Web", 7), 74: ("Hybrid Weapon", 7), 77: ("Shield Hardener", 7),
    83: ("Projectile Ammo", 8), 85: ("Hybrid Charge", 8), 100: ("Combat Drone", 18), 205: ("Heat Sink", 7), 237: ("Corvette", 6),
    301: ("Concord Drone", 11), 302: ("Magnetic Field Stabilizer", 7), 324: ("Assault Frigate", 6),
    326: ("Energized Armor Membrane", 7), 329: ("Armor Plate", 7), 340: ("Secure Cargo Container", 2),
    358: ("Heavy Assault Cruiser", 6), 367: ("Ballistic Control System", 7), 380: ("Deep Space Transport", 6),
    419: ("Combat Battlecruiser", 6), 420: ("Destroyer", 6), 463: ("Mining Barge", 6), 485: ("Dreadnought", 6),
    506: ("Missile Launcher Cruise", 7), 510: ("Missile Launcher Heavy", 7), 513: ("Freighter", 6),
    515: ("Siege Module", 7), 541: ("Interdictor", 6), 543: ("Exhumer", 6), 547: ("Carrier", 6),
    561: ("Asteroid Guristas Cruiser", 11), 588: ("Super Weapon", 7), 655: ("Advanced Heavy Missile", 8),
    658: ("Cynosural Field Generator", 7), 659: ("Supercarrier", 6), 773: ("Rig Armor", 7), 774: ("Rig Shield", 7),
    832: ("Logistics", 6), 834: ("Stealth Bomber", 6), 894: ("Heavy Interdiction Cruiser", 6), 898: ("Black Ops", 6),
    900: ("Marauder", 6), 902: ("Jump Freighter", 6), 916: ("Nanite Repair Paste", 8), 941: ("Industrial Command Ship", 6),
    963: ("Strategic Cruiser", 6), 996: ("Strategic Cruiser Blueprints", 9), 1201: ("Attack Battlecruiser", 6),
    1246: ("Mobile Depot", 22), 1250: ("Mobile Tractor Unit", 22), 1305: ("Tactical Destroyer", 6),
    1321: ("Structure Citadel Service Module", 66), 1330: ("Structure Area Denial Module", 66),
    1538: ("Force Auxiliary", 6), 1652: ("Light Fighter", 87), 1657: ("Citadel", 65), 1739: ("Skill Injectors", 5),
    1875: ("PLEX", 5), 1986: ("Precursor Weapon", 7),
}

# name: (type id, group id, a round price in ISK)
TYPES = {
    # Ships
    "Capsule": (670, 29, 0.01e6), "Ibis": (601, 237, 0.01e6), "Caldari Shuttle": (672, 31, 0.01e6),
    "Rifter": (587, 25, 0.5e6), "Merlin": (603, 25, 0.5e6), "Tristan": (593, 25, 0.5e6),
    "Kestrel": (602, 25, 0.5e6), "Venture": (32880, 25, 0.6e6), "Astero": (33468, 25, 70e6),
    "Federation Navy Comet": (17841, 25, 22e6), "Imperial Navy Slicer": (17703, 25, 20e6), "Ishkur": (12042, 324, 28e6),
    "Thrasher": (16242, 420, 1.6e6), "Catalyst": (16240, 420, 1.5e6), "Kikimora": (49710, 420, 45e6),
    "Svipul": (34562, 1305, 55e6), "Hecate": (35683, 1305, 60e6), "Caracal": (621, 26, 13e6), "Vexor": (626, 26, 13e6),
    "Stabber": (622, 26, 12e6), "Cynabal": (17720, 26, 260e6), "Gila": (17715, 26, 280e6), "Vedmak": (47270, 26, 120e6),
    "Stratios": (33470, 26, 290e6), "Ishtar": (12005, 358, 230e6), "Cerberus": (11993, 358, 240e6),
    "Muninn": (12015, 358, 220e6), "Sabre": (22456, 541, 70e6), "Onyx": (11995, 894, 260e6),
    "Loki": (29990, 963, 220e6), "Proteus": (29988, 963, 200e6), "Tengu": (29984, 963, 210e6),
    "Drake": (24698, 419, 55e6), "Ferox": (16227, 419, 52e6), "Hurricane": (24702, 419, 58e6),
    "Brutix": (16229, 419, 54e6), "Tornado": (4310, 1201, 80e6), "Talos": (4308, 1201, 78e6),
    "Raven": (638, 27, 210e6), "Maelstrom": (24694, 27, 220e6), "Machariel": (17738, 27, 540e6),
    "Rattlesnake": (17918, 27, 620e6), "Leshak": (47271, 27, 520e6), "Vargur": (28665, 900, 1.35e9),
    "Golem": (28710, 900, 1.3e9), "Paladin": (28659, 900, 1.4e9), "Guardian": (11987, 832, 210e6),
    "Scimitar": (11978, 832, 200e6), "Manticore": (12032, 834, 32e6), "Sin": (22430, 898, 1.1e9),
    "Procurer": (17480, 463, 28e6), "Retriever": (17478, 463, 32e6), "Hulk": (22544, 543, 280e6),
    "Badger": (648, 28, 1.2e6), "Bustard": (12731, 380, 210e6), "Orca": (28606, 941, 1.0e9),
    "Charon": (20185, 513, 1.6e9), "Obelisk": (20187, 513, 1.6e9), "Rhea": (28844, 902, 9.2e9),
    "Naglfar": (19722, 485, 3.4e9), "Revelation": (19720, 485, 3.5e9), "Archon": (23757, 547, 2.2e9),
    "Thanatos": (23911, 547, 2.1e9), "Apostle": (37604, 1538, 2.3e9), "Nyx": (23913, 659, 28e9),
    "Avatar": (11567, 30, 115e9), "Erebus": (671, 30, 112e9),
    # Structures and deployables
    "Astrahus": (35832, 1657, 1.4e9), "Fortizar": (35833, 1657, 16e9), "Mobile Tractor Unit": (33475, 1250, 12e6),
    "Mobile Depot": (33474, 1246, 1.5e6),
    # NPCs
    "CONCORD Police Commander": (11125, 301, 0), "Guristas Annihilator": (11928, 561, 0), "Guristas Inferno": (11931, 561, 0),
    # Modules, cargo and ammunition
    "200mm AutoCannon II": (2889, 55, 1.2e6), "425mm AutoCannon II": (2913, 55, 2.6e6),
    "720mm Howitzer Artillery II": (2969, 55, 3.2e6), "1400mm Howitzer Artillery II": (2961, 55, 6.0e6),
    "Light Neutron Blaster II": (3178, 74, 1.0e6), "Neutron Blaster Cannon II": (3186, 74, 5.5e6),
    "Mega Pulse Laser II": (3057, 53, 5.8e6), "Quad Mega Pulse Laser II": (37296, 53, 110e6),
    "Quad 3500mm Siege Artillery II": (37307, 55, 120e6), "Heavy Missile Launcher II": (2410, 510, 2.4e6),
    "Cruise Missile Launcher II": (19739, 506, 5.1e6), "Light Entropic Disintegrator II": (47914, 1986, 9e6),
    "Supratidal Entropic Disintegrator II": (47922, 1986, 35e6), "Bosonic Field Generator": (40633, 588, 900e6),
    "Siege Module II": (4292, 515, 180e6), "Damage Control II": (2048, 60, 0.7e6), "Warp Scrambler II": (448, 52, 1.6e6),
    "Warp Disruptor II": (3244, 52, 1.5e6), "Stasis Webifier II": (527, 65, 1.3e6),
    "Large Shield Extender II": (3841, 38, 1.1e6), "1600mm Steel Plates II": (20353, 329, 2.9e6),
    "Multispectrum Shield Hardener II": (2281, 77, 1.9e6), "Multispectrum Energized Membrane II": (11269, 326, 2.2e6),
    "5MN Microwarpdrive II": (440, 46, 1.4e6), "50MN Microwarpdrive II": (12076, 46, 5.0e6),
    "Ballistic Control System II": (22291, 367, 1.0e6), "Magnetic Field Stabilizer II": (10190, 302, 0.9e6),
    "Gyrostabilizer II": (519, 59, 0.8e6), "Heat Sink II": (2364, 205, 0.9e6),
    "Cynosural Field Generator I": (21096, 658, 2.0e6), "Medium Trimark Armor Pump II": (31059, 773, 22e6),
    "Large Core Defense Field Extender I": (26088, 774, 9e6), "Hammerhead II": (2185, 100, 0.9e6),
    "Warrior II": (2488, 100, 0.5e6), "Ogre II": (2446, 100, 1.8e6), "Templar II": (40556, 1652, 12e6),
    "EMP M": (193, 83, 120), "Antimatter Charge M": (230, 85, 110), "Scourge Fury Heavy Missile": (2629, 655, 420),
    "Nanite Repair Paste": (28668, 916, 21_000), "Tritanium": (34, 18, 4), "Isogen": (37, 18, 120),
    "Morphite": (11399, 18, 14_000), "PLEX": (44992, 1875, 5.6e6), "Large Skill Injector": (40520, 1739, 880e6),
    "Giant Secure Container": (11489, 340, 1.1e6), "Tengu Blueprint": (29985, 996, 60e6),
    "Standup Point Defense Battery I": (35926, 1330, 40e6), "Standup Cloning Center I": (35894, 1321, 60e6),
}

FACTIONS = {
    500001: "Caldari State", 500002: "Minmatar Republic", 500003: "Amarr Empire", 500004: "Gallente Federation",
    500006: "CONCORD Assembly", 500010: "Guristas Pirates", 500026: "Triglavian Collective",
}
