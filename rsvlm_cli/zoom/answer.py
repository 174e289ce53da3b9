"""Looking closer for an answer: the overview, then windows read from the file at their own resolution.

It ends when the answer is certain or the budget is spent. A family that calls a tool names the region itself. For any
other the windows of a quadtree are asked, and the probability of their answers decides which one is split next
(`rsvlm_cli.tasks.evidence`). Where the question is whether a class is there that `detect` knows, or how many, and the
family reads boxes cell by cell, windows are read as `detect` reads them: cells say where to look, boxes how many.

Sources: the chain and its tool call, RSCoVLM (arXiv:2511.21272), which crops the shrunken overview and so adds no
detail (``paper`` does the same); a tree searched by the model's confidence, ZoomEye (arXiv:2411.16044).
"""

from rsvlm_cli.scene import Progress, View
from rsvlm_cli.tasks.ask import is_yes_no
from rsvlm_cli.tasks.dialect import ZoomStyle
from rsvlm_cli.tasks.zoom import Aim, aim_of
from rsvlm_cli.zoom.chain import Chain
from rsvlm_cli.zoom.look import Answered, Budget, label_read, look_once
from rsvlm_cli.zoom.search import Search


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
    if settings.zoom == "off" or aim is Aim.WHOLE:
        return budget.pay(look_once(view, question)), []
    return (Chain(view, question, budget) if chain else Search(view, question, aim, label, budget)).run()
