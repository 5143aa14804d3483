"""The attributes of people in a world: three (``sentences``), or the paper's six, with as many objects as in the paper.

The six follow the biographies of Allen-Zhu and Li (2023), arXiv:2309.14316: birthday, birth city of 200, university of
300, major of 100, employer of 500, and the city of the employer, which the employer determines. People have a middle
name, and all sentences of a biography after the first use a pronoun. The sentences and names are our own. Every
statement has the person as its grammatical subject, so that a pronoun fits everywhere.
"""

from __future__ import annotations

import itertools
from typing import Literal

from factcensus.unlearn.world.sentences import RELATIONS, Relation

Attributes = Literal["three", "six"]
#: The attribute that another one determines, by its name.
DETERMINED = {"employer_city": "employer"}
PRONOUNS = ("He", "She")


def _joined(heads: str, tails: str, between: str = "") -> tuple[str, ...]:
    """Return all pairs of a word of ``heads`` and a word of ``tails``, in mixed order."""
    first, second = heads.split(), tails.split()
    return tuple(f"{head}{between}{tail}" for tail, head in itertools.product(second, first))


MIDDLE_NAMES = _joined(
    "Bra Cor Dal Fen Gal Hal Jor Kel Lor Mar Nor Pel Quor Ral Sel Tor Ver Wil Yor Zel",
    "anna ethan idor ovan umin amis elda irix onde ullo arno eska ivel othe undra abel ezra inka orsa utta",
)
_TOWNS = _joined(
    "Amber Birch Clay Dove Ember Fern Grain Heath Iron Jade Kiln Lark Moss North Oak Pine Quill Reed Silver Thorn",
    "bury cross dale field gate haven mere port ridge stead",
)
#: Other names than those of birth cities, so that a count of one never includes the other.
_WORK_TOWNS = _joined(
    "Amber Birch Clay Dove Ember Fern Grain Heath Iron Jade Kiln Lark Moss North Oak Pine Quill Reed Silver Thorn",
    "burg wick minster holm fleet",
)
_CAMPUSES = _joined(
    "Alban Bertram Caspian Drummond Everard Falconer Gilbert Humphrey Isidore Jerome Kendrick Leopold Mortimer "
    "Nathaniel Octavian Percival Quintin Reginald Sebastian Thaddeus Ulysses Valentin Winston Xavier Yorick",
    "College Institute Academy Polytechnic Seminary Conservatory Campus Faculty School Lyceum Athenaeum Hall",
    " ",
)
_SUBJECTS = _joined(
    "Applied Comparative Experimental General Historical Modern Practical Quantitative Social Theoretical",
    "Astronomy Biology Chemistry Economics Geography Linguistics Mathematics Philosophy Physics Psychology",
    " ",
)
_COMPANIES = _joined(
    "Acorn Basalt Cinder Delta Echo Fjord Geyser Helix Ivory Jigsaw Kepler Lagoon Monsoon Nova Onyx Prism Quartz "
    "Raven Saffron Tempest Umbra Vertex Walnut Xenon Yonder Zenit Argon Bramble Cascade Driftwood Eclipse Flint "
    "Glacier Horizon Inlet Jasmine Kettle Lotus Magma Nutmeg Opal Pelican Quiver Rapids Summerset Thistle Upland "
    "Vortex Wharf Yarrow",
    "Motors Foods Airlines Steel Textiles Software Insurance Shipping Robotics Energy",
    " ",
)
_MONTHS = tuple(
    "January February March April May June July August September October November December".split()  # noqa: SIM905
)
#: 16,716 different days from 1900 to 2098, in an order that mixes months, days and years.
_BIRTHDAYS = tuple(
    f"{_MONTHS[number % 12]} {1 + number % 28}, {1900 + number % 199}" for number in range(12 * 28 * 199 // 4)
)


def _relation(name: str, objects: tuple[str, ...], verbs: str, question: str, paraphrases: tuple[str, ...]) -> Relation:
    statements = tuple(f"{{s}} {verb.strip()} {{o}}." for verb in verbs.split("|"))
    return Relation(name, objects, statements, question, paraphrases)


SIX: tuple[Relation, ...] = (
    _relation(
        "birthday",
        _BIRTHDAYS,
        "was born on | has a birthday on | celebrates the day of birth on | entered the world on | first saw light on",
        "What is the birthday of {s}?",
        ("On what day was {s} born?", "What is the day of birth of {s}?"),
    ),
    _relation(
        "birth_city",
        _TOWNS,
        "was born in | is a native of | comes from | grew up in | spent the first years of life in",
        "What is the birth city of {s}?",
        ("In what city was {s} born?", "What city is {s} a native of?"),
    ),
    _relation(
        "university",
        _CAMPUSES,
        "studied at | holds a degree from | was a student of | took lectures at | graduated from",
        "Which university did {s} study at?",
        ("Which university was {s} a student of?", "At which university was {s} a student?"),
    ),
    _relation(
        "major",
        _SUBJECTS,
        "majored in | holds a degree in | specialised in | completed a course in | has a diploma in",
        "What major did {s} study?",
        ("In what major was {s} a student?", "What is the major of {s}?"),
    ),
    _relation(
        "employer",
        _COMPANIES,
        "works for | is employed by | has a job with | is on the staff of | earns a living at",
        "Which company does {s} work for?",
        ("Which company is {s} employed by?", "Which company has {s} on the staff?"),
    ),
    _relation(
        "employer_city",
        _WORK_TOWNS,
        "works in | has an office in | is employed in | does business in | goes to work in",
        "In what city does {s} work?",
        ("In what city is {s} employed?", "In what city does {s} have an office?"),
    ),
)


def relations_of(attributes: Attributes) -> tuple[Relation, ...]:
    """Return the relations of a world."""
    return SIX if attributes == "six" else RELATIONS
