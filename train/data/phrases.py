"""Exact English for what is known of an image: counts, places, compositions and changes.

Every sentence is derived from labels, so a number in it is the number of boxes. Wording varies with the generator
given; lower case and without a final stop, as the human change captions of the field are written.
"""

from collections.abc import Sequence

import numpy as np

from train.data.records import LabelledBox

NUMBERS = (
    *("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
NO_CHANGE = (
    "no change",
    "nothing has changed",
    "there is no change between the two images",
    "no change has taken place",
    "the two images show the same ground without any change",
    "both dates look alike apart from light and season",
)
MOBILE = frozenset({"airplane", "ship", "car", "truck", "bus", "minibus", "vehicle"})
_VERBS = {
    "building": (("built", "constructed", "put up"), ("demolished", "removed", "torn down")),
    "storage tank": (("built", "added"), ("removed", "dismantled")),
    "solar panel": (("installed", "added"), ("removed", "taken down")),
    "swimming pool": (("built", "added"), ("removed", "filled in")),
    "tree": (("planted",), ("felled", "removed", "cut down")),
}
_OTHER_VERBS = (("built", "laid out"), ("removed",))
_AT = ("airport", "airfield", "roundabout", "crossroads", "junction", "site", "solar farm", "sports ground")
_ON = ("apron", "coast", "shore", "waterfront", " land", "ground", "fields")


def number(n: int) -> str:
    """Write a count: a word up to twenty, digits beyond."""
    return NUMBERS[n] if n < len(NUMBERS) else str(n)


def plural(label: str) -> str:
    """Return the plural of a class word."""
    if label.endswith("y") and label[-2] not in "aeiou":
        return label[:-1] + "ies"
    return label + ("es" if label.endswith(("s", "x", "ch", "sh")) else "s")


def an(label: str) -> str:
    """Return a class word with its article."""
    return ("an " if label[0] in "aeiou" else "a ") + label


def counted(label: str, n: int, *, article: bool = False) -> str:
    """Return ``three ships``; of one, ``one ship`` or with ``article`` ``a ship``."""
    if n == 1:
        return an(label) if article else f"one {label}"
    return f"{number(n)} {plural(label)}"


def joined(parts: Sequence[str]) -> str:
    """Join with commas and a last ``and``."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def place_words(boxes: Sequence[tuple[float, float, float, float]], size: tuple[int, int]) -> str:
    """Say where boxes lie, with its preposition, or nothing where they are spread.

    Args:
        boxes: ``x1, y1, x2, y2`` in pixels.
        size: width and height of the image in pixels.

    Returns:
        ``in the upper left``, ``at the top``, ``on the right``, ``in the middle`` if every centre lies in that ninth or
        that third, else an empty string.
    """
    columns = {min(int((x1 + x2) / 2 / size[0] * 3), 2) for x1, _, x2, _ in boxes}
    rows = {min(int((y1 + y2) / 2 / size[1] * 3), 2) for _, y1, _, y2 in boxes}
    column = ("left", "middle", "right")[columns.pop()] if len(columns) == 1 else None
    row = ("upper", "middle", "lower")[rows.pop()] if len(rows) == 1 else None
    side = {"upper": "at the top", "lower": "at the bottom", "left": "on the left", "right": "on the right"}
    if row and column and "middle" not in (row, column):
        return f"in the {row} {column}"
    if row == column == "middle":
        return "in the middle"
    if row in side and column in (None, "middle"):
        return side[row]
    return side[column] if column in side and row in (None, "middle") else ""


def pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    """Choose one wording."""
    return options[int(rng.integers(len(options)))]


def change_phrase(rng: np.random.Generator, label: str, n: int, *, appeared: bool, where: str) -> str:
    """Say that ``n`` objects came or went.

    Args:
        rng: chooses the wording.
        label: class word.
        n: how many, at least one.
        appeared: whether the second date has them and the first has not.
        where: from `place_words`, may be empty.
    """
    have, are, appear = ("has", "is", "appears") if n == 1 else ("have", "are", "appear")
    things = counted(label, n, article=bool(rng.integers(2)))
    new = things.split(" ", 1)[0].replace("an", "a") + " new " + things.split(" ", 1)[1]
    if label not in MOBILE:
        verb = pick(rng, _VERBS.get(label, _OTHER_VERBS)[0 if appeared else 1])
        forms = [f"{things} {have} been {verb}", f"{things} {are} {verb}"]
    elif appeared:
        forms = [f"{things} {have} appeared", f"{things} {have} arrived"]
    else:
        forms = [f"{things} {have} left", f"{things} {are} no longer there"]
    forms.append(f"{new} {appear}" if appeared else f"{things} {have} disappeared")
    text = pick(rng, forms)
    if not where:
        return text
    return f"{where}, {text}" if rng.random() < 0.2 else f"{text} {where}"


def area_phrase(rng: np.random.Generator, kind: str, *, appeared: bool, where: str) -> str:
    """Say that there is more or less of a ``road``, of ``trees`` or of ``water``."""
    forms = {
        ("road", True): ("a road has been built", "a new road appears", "a road is constructed"),
        ("road", False): ("a road has been removed", "a road has disappeared"),
        ("trees", True): ("bare land has been planted with trees", "trees now cover what was bare land"),
        ("trees", False): ("trees have been cleared", "trees have given way to bare land", "trees are removed"),
        ("water", True): ("the water body has grown", "the water has extended over land", "the water covers more land"),
        ("water", False): ("the water body has shrunk", "the water has receded", "the water covers less land"),
    }
    text = pick(rng, forms[kind, appeared])
    return f"{text} {where}" if where else text


def counts_of(objects: Sequence[LabelledBox]) -> dict[str, int]:
    """Count objects by label, most frequent first."""
    counts: dict[str, int] = {}
    for item in objects:
        counts[item.label] = counts.get(item.label, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def listing(rng: np.random.Generator, counts: dict[str, int]) -> str:
    """Name what is counted, nothing else; ``counts`` may be empty or hold zeros."""
    things = joined([counted(label, n, article=n == 1) for label, n in counts.items()] or ["open ground"])
    be = "is" if next(iter(counts.values()), 1) == 1 else "are"
    openings = (f"there {be}", "the image shows", "an aerial image with", "an aerial view of")
    return f"{pick(rng, openings)} {things}"


def preposition(setting: str) -> str:
    """Return ``in``, ``at`` or ``on``, as the setting's noun takes it."""
    if setting.endswith(_AT):
        return "at"
    return "on" if setting.endswith(_ON) else "in"


def composition(rng: np.random.Generator, setting: str, crossing: Sequence[str], counts: dict[str, int]) -> str:
    """Describe one image.

    Args:
        rng: chooses the wording.
        setting: noun phrase of the ground, such as ``farmland`` or ``a residential area``.
        crossing: noun phrases of what runs through it, such as ``a river``.
        counts: objects to name, all of that label in the image.
    """
    things = joined([counted(label, n, article=True) for label, n in counts.items()]) if counts else ""
    verb = "crosses" if len(crossing) == 1 else "cross"
    if crossing and rng.random() < 0.7:
        body = f"{joined(crossing)} {verb} {setting}"
        return f"{body} with {things}" if things else body
    if crossing:
        setting = f"{setting} with {joined(crossing)}" if not things else f"{setting} crossed by {joined(crossing)}"
    if not things:
        return pick(rng, (setting, f"an aerial view of {setting}", f"the image shows {setting}"))
    be = "is" if next(iter(counts.values())) == 1 else "are"
    at = f"{preposition(setting)} {setting}"
    link = " with " if " by " not in setting else ", with "
    forms = (f"{setting}{link}{things}", f"{things} {at}", f"there {be} {things} {at}")
    return pick(rng, (*forms, f"the image shows {setting}{link}{things}"))


NOT_COUNTED = frozenset(
    {"road", "vegetation", "water", "unpaved land", "forest", "solar panel", "urban change", "land change"}
)
"""Class words that name stuff rather than things."""


def presence_question(label: str, rng: np.random.Generator) -> str:
    """Draw a wording of "is there one?"."""
    if label in NOT_COUNTED:
        forms: tuple[str, ...] = (
            f"Is there {label}?",
            f"Is there any {label} in the image?",
            f"Can you see {label}?",
            f"Does the image show {label}?",
        )
    else:
        forms = (
            f"Is there {an(label)}?",
            f"Is there {an(label)} in the image?",
            f"Are there any {plural(label)}?",
            f"Are there {plural(label)} in the image?",
            f"Can you see {an(label)}?",
            f"Does the image show {an(label)}?",
        )
    return forms[int(rng.integers(len(forms)))]


def count_question(label: str, rng: np.random.Generator) -> str:
    """Draw a wording of "how many?"."""
    many = plural(label)
    forms = (
        f"How many {many}?",
        f"How many {many} are there?",
        f"How many {many} are in the image?",
        f"Count the {many}.",
    )
    return forms[int(rng.integers(len(forms)))]
