"""``rsvlm data``: what a model can be trained on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

PIPED_COLUMNS = 150

app = typer.Typer(help="List, prepare and check data sets for training (needs the train extra).", no_args_is_help=True)

LayoutOption = Annotated[
    str | None,
    typer.Option("--as", metavar="NAME", help="The set, or the layout of your own data (rsvlm data list)."),
]


@app.command("list", epilog="Examples:\n\nrsvlm data list\n\nrsvlm data list --json")
def list_sets(
    json: Annotated[bool, typer.Option("--json", help="Print JSON, with origin and checksums.")] = False,
) -> None:
    """List the sets and layouts that can be read: terms, what each teaches, what its folder must hold."""
    import sys

    from rsvlm_cli.output.document import dump
    from rsvlm_cli.workshop import enter_workshop

    enter_workshop()
    from train.data.listing import describe_registry, registry_table

    if json:
        sys.stdout.write(dump(describe_registry(), indent=1) + "\n")
    else:
        _print_table(registry_table())


@app.command(
    epilog="Examples:\n\nrsvlm data prepare my-scenes --as corrections --name harbour --out prepared\n\n"
    "rsvlm data prepare LEVIR-CD --as levir-cd --out prepared\n\nrsvlm data prepare shared-data --out prepared"
)
def prepare(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The set's folder; without --as a root of many sets.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the prepared sets.")],
    layout: LayoutOption = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the prepared set; by default that of --as.")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Images may show things nobody labelled: teach no counts from it.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a prepared set of that name.")] = False,
) -> None:
    """Convert data sets into records that training reads; images and masks are copied beside them."""
    from rsvlm_cli.workshop import enter_workshop

    enter_workshop()
    from train.data.listing import prepare_named

    _print_table(prepare_named(folder, out, layout, name=name, partial=partial, overwrite=overwrite))


@app.command(epilog="Examples:\n\nrsvlm data check prepared\n\nrsvlm data check LEVIR-CD --as levir-cd")
def check(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A prepared set, a folder of them, or with --as a set.")
    ],
    layout: LayoutOption = None,
) -> None:
    """Check prepared sets record by record; with --as a published set's archives and layout. Exit 3 at a fault."""
    import sys

    from rsvlm_cli.workshop import enter_workshop

    enter_workshop()
    from train.data.listing import check_folder

    for line in check_folder(folder, layout):
        sys.stdout.write(line + "\n")


def _print_table(table: "Table") -> None:
    """Write a table to stdout, as wide as the terminal or, in a pipe, wide enough."""
    import sys

    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else PIPED_COLUMNS).print(table)
