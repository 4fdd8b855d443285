"""Fictional pilots, corporations and alliances.

Their ids are at the upper end of the ranges for players, where the game has not assigned any yet.
"""

import random

# key: (alliance id, name, ticker)
ALLIANCES = {
    "ember": (99_990_001, "Ember Compact", "EMBER"),
    "north": (99_990_002, "Northlight Accord", "NLA"),
    "quiet": (99_990_003, "The Quiet Hegemony", "QUIET"),
    "salt": (99_990_004, "Saltwater Coalition", "SALT"),
    "lantern": (99_990_005, "Wandering Lanterns", "LAMP"),
}

# key: (corporation id, name, ticker, alliance key)
CORPORATIONS = {
    "forge": (98_990_001, "Cinderworks Foundry", "CNDR", "ember"),
    "ash": (98_990_002, "Ash and Anvil", "ASHV", "ember"),
    "aurora": (98_990_003, "Aurora Watchkeepers", "AURW", "north"),
    "polar": (98_990_004, "Polar Night Logistics", "POLN", "north"),
    "hush": (98_990_005, "Hushed Ledger Holdings", "HUSH", "quiet"),
    "tide": (98_990_006, "Rising Tide Salvage", "TIDE", "salt"),
    "brine": (98_990_007, "Brine & Barnacle", "BRNE", "salt"),
    "lamp": (98_990_008, "Lamplighters Guild", "LMPG", "lantern"),
    "moth": (98_990_009, "Moths of Anoikis", "MOTH", "lantern"),
    "gank": (98_990_010, "Uninsured Motorists", "UNINS", None),
    "solo": (98_990_011, "One Rifter Short", "1RFT", None),
    "mine": (98_990_012, "Pebble Collectors Anonymous", "PEBL", None),
    "haul": (98_990_013, "Overland Parcel Service", "OPS.", None),
    "tri": (98_990_014, "Krai Wayfarers", "KRAI", None),
}

# key: (corporation id, name, ticker, faction id): NPC corporations
NPC_CORPORATIONS = {
    "concord": (1_000_125, "CONCORD", "CC", None),
    "guristas": (1_000_127, "Guristas", "GUR", 500010),
    "tlf": (1_000_182, "Tribal Liberation Force", "TLF", 500002),
    "crusade": (1_000_179, "24th Imperial Crusade", "24IC", 500003),
}

FIRST_NAMES = """Abel Anouk Arvid Bexley Brannoch Calla Corvin Dario Delphine Edda Emeric Farrow Fenna Galen Greta Hale Hedda Ilse
Ivo Jorun Juno Kestra Kolya Lark Linnea Maelle Marek Nadia Nils Odile Orrin Petra Quill Rasmus Reva Saskia Soren Tamsin Tove
Ulric Vanya Viggo Wren Xenia Yara Yorick Zelda Zoltan""".split()
LAST_NAMES = """Ashdown Barrow Calloway Drexler Eastlake Fairwind Garrick Holloway Ironside Jessamy Kettering Lockhart Marlowe
Nightingale Okonedo Pemberly Quartermain Ravensworth Stormgaard Thackeray Underhill Vantongeren Whitlock Yarrow Zellweger
Blackfen Coldwater Dunmore Evergreen Foxglove""".split()


class People:
    """Creates pilots with corporations, and records all of them for names.json."""

    def __init__(self, dice: random.Random):
        self._pilots = {}
        names = [f"{first} {last}" for first in FIRST_NAMES for last in LAST_NAMES]
        dice.shuffle(names)
        self._names = iter(names)

    def pilot(self, corporation: str, number: int) -> dict:
        """Returns a pilot of a corporation. The same number gives the same pilot."""
        key = (corporation, number)
        if key not in self._pilots:
            self._pilots[key] = (2_147_000_001 + len(self._pilots), next(self._names))
        return {"character_id": self._pilots[key][0], **self.organisation(corporation)}

    @staticmethod
    def organisation(corporation: str) -> dict:
        """Returns a corporation with its alliance or faction."""
        if corporation in NPC_CORPORATIONS:
            number, _, _, faction = NPC_CORPORATIONS[corporation]
            return {"corporation_id": number} | ({"faction_id": faction} if faction else {})
        number, _, _, alliance = CORPORATIONS[corporation]
        return {"corporation_id": number} | ({"alliance_id": ALLIANCES[alliance][0]} if alliance else {})

    def names(self) -> list:
        """Returns all names in the format of names.json."""
        everyone = [{"id": number, "category": "character", "name": name} for number, name in self._pilots.values()]
        for number, name, ticker, _ in [*CORPORATIONS.values(), *NPC_CORPORATIONS.values()]:
            everyone.append({"id": number, "category": "corporation", "name": name, "ticker": ticker})
        for number, name, ticker in ALLIANCES.values():
            everyone.append({"id": number, "category": "alliance", "name": name, "ticker": ticker})
        return everyone
