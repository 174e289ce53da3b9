"""``rsvlm ask``: questions about rasters."""

import logging
from typing import TYPE_CHECKING, Annotated

import typer

from rsvlm_cli.arguments import split_arguments
from rsvlm_cli.errors import EXIT_TEST_FALSE, UsageError
from rsvlm_cli.options import MODEL, InputOptions, ModelOptions, OutputOptions, Zoom

if TYPE_CHECKING:
    from rsvlm_cli.settings import Settings

logger = logging.getLogger(__name__)

EXAMPLES = (
    'rsvlm ask scene.tif "Is there water?"',
    'rsvlm ask scene.tif "How many planes are there?" "Is it urban or rural?" --json',
    'rsvlm ask tiles/*.tif -q "Is there a ship?" --jsonl > ships.jsonl',
    'rsvlm ask 2019.tif --after 2024.tif "Has anything changed?"',
    'rsvlm ask city.tif "Is there a ship?" --zoom auto --max-hops 40 --preview looked.png',
    'if rsvlm ask scene.tif "Is there water?" --test; then echo water; fi',
    "rsvlm ask scene.tif < questions.txt      (one a line; on a terminal without a question: a chat)",
)


def ask(
    arguments: Annotated[
        list[str],
        typer.Argument(metavar="RASTER... [QUESTION]...", help="Rasters, then questions; or questions by -q."),
    ],
    read: InputOptions,
    model: ModelOptions,
    out: OutputOptions,
    question: Annotated[
        list[str] | None, typer.Option("--question", "-q", help="What to ask; may be given several times.")
    ] = None,
    after: Annotated[
        str | None, typer.Option("--after", metavar="RASTER", help="A later raster of the same place, seen beside it.")
    ] = None,
    test: Annotated[
        bool, typer.Option("--test", help="Exit 0 for yes and 10 for no; for one yes-or-no question.")
    ] = False,
    zoom: Annotated[
        Zoom,
        typer.Option(
            "--zoom",
            help="auto: look closer, at windows read from the file, until the answer is certain; large: to count what "
            "the view is too coarse for; paper: at parts of the shrunken overview, as RSCoVLM does.",
            rich_help_panel=MODEL,
        ),
    ] = Zoom.LARGE,
    max_hops: Annotated[
        int | None,
        typer.Option("--max-hops", min=0, help="Windows that a zoom may look at (four a step).", rich_help_panel=MODEL),
    ] = None,
) -> None:
    """Answer questions about rasters; each raster is read and encoded once."""
    rasters, words = split_arguments(arguments)
    questions = [*words, *(question or ())]
    settings = model.settings(read, zoom=zoom.value, max_hops=max_hops)
    pair = [after] if after else []
    if after and len(rasters) > 1:
        raise UsageError(f"--after: found {len(rasters)} rasters before it, wanted one")
    if not questions:
        if test or len(rasters) > 1:
            raise UsageError('found no question, wanted one: "Is there water?" after the raster, or -q')
        questions = read_questions([*rasters, *pair], settings, stream=not (out.json or out.jsonl or out.out))
        if not questions:
            return
    from rsvlm_cli import pipeline
    from rsvlm_cli.output.deliver import deliver
    from rsvlm_cli.output.progress import with_progress
    from rsvlm_cli.results import Answer, Report
    from rsvlm_cli.tasks.ask import is_yes_no

    if test and (len(rasters) > 1 or len(questions) > 1 or not is_yes_no(questions[0])):
        raise UsageError("--test: wanted one raster and one question of yes or no, such as: Is there water?")
    answers: list[str] = []

    def work(raster: str) -> Report:
        report = with_progress(lambda progress: pipeline.ask([raster, *pair], questions, settings, progress))
        found = [result for result in report.results if isinstance(result, Answer)]
        answers.extend(result.text for result in found)
        for cost in (result.cost for result in found if result.cost and result.cost.windows > 1):
            logger.info("looked at %d windows: %d tokens, %.1f s", cost.windows, cost.tokens, cost.seconds)
        return report

    deliver(work, rasters, out.targets(read))
    if test and answers == ["no"]:
        raise typer.Exit(EXIT_TEST_FALSE)


def read_questions(rasters: list[str], settings: "Settings", *, stream: bool) -> list[str]:
    """Read questions from stdin; where text is wanted, answer each at once and return none.

    Raises:
        UsageError: if there are none.
    """
    import sys

    from rsvlm_cli import pipeline
    from rsvlm_cli.output.text import one_line
    from rsvlm_cli.scene import open_scene

    on_terminal = sys.stdin.isatty()
    lines = (line.strip() for line in sys.stdin)
    if not (stream or on_terminal):
        questions = [line for line in lines if line]
        if not questions:
            raise UsageError('found no question on stdin, wanted one a line (or "Is there water?" after the raster)')
        return questions
    n = 0
    with open_scene(rasters, settings) as scene:
        view = scene.look()
        if on_terminal:
            sys.stderr.write("Ask, one question a line; Ctrl-D ends.\n> ")
            sys.stderr.flush()
        for line in filter(None, lines):
            n += 1
            sys.stdout.write(one_line(pipeline.answer(view, line).text) + "\n")
            sys.stdout.flush()
            if on_terminal:
                sys.stderr.write("> ")
                sys.stderr.flush()
    if not n and not on_terminal:
        raise UsageError('found no question on stdin, wanted one a line (or "Is there water?" after the raster)')
    return []
