"""Looking closer for an answer: the overview, then windows read from the file at their own resolution.

It ends when the answer is certain or the budget is spent. A family that calls a tool names the region itself. For any
other the windows of a quadtree are asked, and the probability of their answers decides which one is split next
(`rsvlm_cli.tasks.evidence`). Where the question is whether a class is there that `detect` knows, or how many, and the
family reads boxes cell by cell, windows are read as `detect` reads them: cells say where to look, boxes how many.

Sources: the chain and its tool call, RSCoVLM (arXiv:2511.21272), which crops the shrunken overview and so adds no
detail (``paper`` does the same); a tree searched by the model's confidence, ZoomEye (arXiv:2411.16044).
"""

from rsvlm_cli.geo.quarters import cut_quarters, longest_side
from rsvlm_cli.road.heads import knows
from rsvlm_cli.scene import Progress, View
from rsvlm_cli.tasks.ask import is_yes_no
from rsvlm_cli.tasks.dialect import ZoomStyle
from rsvlm_cli.tasks.zoom import Aim, aim_of
from rsvlm_cli.zoom.chain import Chain
from rsvlm_cli.zoom.look import Answered, Budget, label_read, look_once
from rsvlm_cli.zoom.search import Search, taught_sides_px

LARGE_SIDES = 2.0
"""From so many windows a side, each of the size that suits a class, windows count better than one look at the whole."""


def is_too_large(view: View, question: str, label: str | None) -> bool:
    """Say whether a view is too coarse for a class, which the tower's head knows and of which the scale is known."""
    if label is None or not knows(view, "objects", label):
        return False
    leaf_px, coarsest_px = taught_sides_px(view, question)
    return coarsest_px is not None and longest_side(view.window_px) >= LARGE_SIDES * leaf_px


def answer(view: View, question: str, progress: Progress | None = None) -> Answered:
    """Answer a question about a view, looking closer where the settings say so and it can help.

    Returns:
        The answer with its cost, and every window looked at beyond the overview, in order.

    Raises:
        ReplyTruncated: if a tool call was cut by the context's end.
    """
    settings, aim, dialect, one_date = view.scene.settings, aim_of(question), view.scene.dialect, len(view.chips) == 1
    chain = dialect.zoom is ZoomStyle.TOOL_CALL and one_date and aim is not Aim.COUNT
    label = label_read(view, question, aim)
    # What is decoded, and two pictures of one prompt, are looked at upright alone.
    turned = (is_yes_no(question) or label is not None) and not chain
    budget = Budget(view, progress, view.scene.tta if turned else 1)
    closer = settings.zoom != "off" and aim is not Aim.WHOLE
    if settings.zoom == "large":
        # Numbers alone, for in a crowd some window sees what is not there; and only if windows can be paid for, since
        # boxes of the whole count worse than one look does (docs/adr/0011).
        paid = budget.allows(len(cut_quarters(view.window_px)))
        closer = aim is Aim.COUNT and paid and is_too_large(view, question, label)
    if not closer:
        return budget.pay(look_once(view, question)), []
    return (Chain(view, question, budget) if chain else Search(view, question, aim, label, budget)).run()
