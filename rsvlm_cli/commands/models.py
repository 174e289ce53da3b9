"""``rsvlm models``: the bundles on this machine."""

from typing import Annotated

import typer

from rsvlm_cli.options import DEFAULT_MODEL

app = typer.Typer(help="List, show and verify the models on this machine.", no_args_is_help=False)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", envvar="RSVLM_MODEL", help="A bundle's name or folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list", epilog="Examples:\n\nrsvlm models list")
def list_models(json: JsonOption = False) -> None:
    """List the models, one a line: name and folder."""
    import sys

    from rsvlm_cli.output.document import dump
    from rsvlm_cli.runtime.bundle import list_bundles

    bundles = {name: str(path) for name, path in list_bundles().items()}
    text = "".join(f"{name}\t{path}\n" for name, path in bundles.items())
    sys.stdout.write(dump(bundles, indent=1) + "\n" if json else text)


@app.command(epilog="Examples:\n\nrsvlm models show nano\n\nrsvlm models show nano --json")
def show(name: NameArgument = DEFAULT_MODEL, json: JsonOption = False) -> None:
    """Show what a model says of itself: licence, training data and its terms, classes, quality."""
    import sys

    from rsvlm_cli.output.document import dump
    from rsvlm_cli.output.text import mapping_to_text
    from rsvlm_cli.runtime.bundle import find_bundle, read_bundle

    bundle = read_bundle(find_bundle(name))
    facts = bundle.manifest.to_json() | {"path": str(bundle.path), "manifest_sha256": bundle.sha256}
    if json:
        sys.stdout.write(dump(facts, indent=1) + "\n")
        return
    told = (
        "name",
        "family",
        "version",
        "licence",
        "path",
        "manifest_sha256",
        "languages",
        "image",
        "decoder",
        "max_context",
    )
    more = ("quantisation", "data", "classes", "quality")
    sys.stdout.write(mapping_to_text({key: facts[key] for key in (*told, *more) if facts.get(key)}))


@app.command(epilog="Examples:\n\nrsvlm models verify nano")
def verify(name: NameArgument = DEFAULT_MODEL) -> None:
    """Hash every file of a model and compare with its manifest; exit 4 if one differs."""
    import sys

    from rsvlm_cli.runtime.bundle import find_bundle, read_bundle, verify_bundle

    bundle = read_bundle(find_bundle(name))
    verify_bundle(bundle)
    sys.stdout.write(f"{bundle.manifest.name}: {len(bundle.manifest.files)} files are whole\n")
