"""``rsvlm models``: the bundles on this machine, and how others come to it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rsvlm_cli.commands.export import (
    BlockOption,
    ProfileName,
    ProfileOption,
    TasksOption,
    TowerOption,
    VisionName,
    VisionOption,
    open_checkpoint,
    read_profile,
)
from rsvlm_cli.options import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rsvlm_cli.runtime.bundle import Bundle

TERMS = ("name", "version", "licence", "data")
"""What of a manifest is shown before a model is taken in."""

app = typer.Typer(help="List, show, verify, import, pull, bundle and remove models.", no_args_is_help=False)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", envvar="RSVLM_MODEL", help="A bundle's name or folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AcceptOption = Annotated[
    bool, typer.Option("--accept-licence", help="Accept licence and data terms without being asked.")
]
KeptNameOption = Annotated[str | None, typer.Option("--name", help="What it is to be called here.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace a model or file that is there.")]


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
    """Show what a model says of itself: licence, training data and its terms, what was accepted, classes, quality."""
    import sys

    from rsvlm_cli.output.document import dump
    from rsvlm_cli.output.text import mapping_to_text
    from rsvlm_cli.runtime.bundle import find_bundle, read_bundle
    from rsvlm_cli.runtime.library import read_acceptance

    bundle = read_bundle(find_bundle(name))
    facts = bundle.manifest.to_json() | {"path": str(bundle.path), "manifest_sha256": bundle.sha256}
    accepted = read_acceptance(bundle)
    if accepted:
        facts["accepted"] = {key: accepted.get(key) for key in ("licence", "at", "how")}
    if json:
        sys.stdout.write(dump(facts, indent=1) + "\n")
        return
    told = (
        "name",
        "family",
        "version",
        "licence",
        "accepted",
        "path",
        "manifest_sha256",
        "languages",
        "image",
        "decoder",
        "max_context",
        "repetition_penalty",
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


@app.command(
    "import",
    epilog="Examples:\n\nrsvlm models import RSUniVLM\n\nrsvlm models import usb/rsunivlm-1b.rsvlm\n\n"
    "rsvlm models import Qwen2-0.5B --tower siglip-so400m-patch14-384 --as-checkpoint runs/start",
)
def import_model(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Folder of weights, bundle folder or bundle file.")],
    name: KeptNameOption = None,
    profile: ProfileOption = ProfileName.INT4,
    block: BlockOption = 32,
    vision: VisionOption = VisionName.BLOCKS,
    tasks: TasksOption = "all",
    tower: TowerOption = None,
    as_checkpoint: Annotated[
        Path | None,
        typer.Option("--as-checkpoint", metavar="DIR", help="Write a checkpoint folder to train from instead."),
    ] = None,
    accept_licence: AcceptOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Take a model in: released weights (RSUniVLM, LLaVA-OneVision, Qwen2 with SigLIP), or a bundle made elsewhere."""
    import sys

    from rsvlm_cli.errors import BundleNotFound
    from rsvlm_cli.runtime.bundle import MANIFEST, read_bundle
    from rsvlm_cli.runtime.library import install_bundle, install_bundle_file, installed_folder, read_bundle_file
    from rsvlm_cli.workshop import enter_workshop

    if source.is_file():
        manifest = read_bundle_file(source)
        folder = installed_folder(name or manifest.name, overwrite=overwrite)
        how = _accept(manifest.to_json(), accept_licence)
        _welcome(install_bundle_file(source, folder), how)
        return
    if (source / MANIFEST).is_file():
        given = read_bundle(source)
        folder = installed_folder(name or given.manifest.name, overwrite=overwrite)
        how = _accept(given.manifest.to_json(), accept_licence)
        _welcome(install_bundle(given, folder), how)
        return
    if not source.is_dir():
        raise BundleNotFound(f"{source}: no such file or folder (wanted weights, a bundle folder or a bundle file)")
    enter_workshop(("onnx", "safetensors"), "export")
    from export.convert import write_checkpoint
    from export.pack import check_new_folder, pack

    if as_checkpoint:
        check_new_folder(as_checkpoint)
    opened = open_checkpoint(source, tasks=tasks, tower=tower, name=name)
    if as_checkpoint is None:
        folder = installed_folder(opened.card.name, overwrite=overwrite)
    how = _accept({key: getattr(opened.card, key) for key in TERMS}, accept_licence)
    if as_checkpoint:
        write_checkpoint(opened, as_checkpoint)
        sys.stdout.write(f"{opened.card.name}\t{as_checkpoint}\n")
    else:
        _welcome(pack(opened, folder, read_profile(profile, block, vision), overwrite=overwrite).bundle, how)


@app.command(
    epilog="Examples:\n\nrsvlm models pull rsunivlm-1b --accept-licence\n\n"
    "rsvlm models pull OWNER/REPOSITORY --revision main"
)
def pull(
    name: Annotated[str, typer.Argument(metavar="NAME", help="rsunivlm-1b, or OWNER/REPOSITORY on the hub.")],
    revision: Annotated[str | None, typer.Option("--revision", help="Branch, tag or commit.")] = None,
    kept_name: KeptNameOption = None,
    profile: ProfileOption = ProfileName.INT4,
    block: BlockOption = 32,
    vision: VisionOption = VisionName.BLOCKS,
    tasks: TasksOption = "all",
    keep_download: Annotated[bool, typer.Option("--keep-download", help="Keep the weights as they came.")] = False,
    accept_licence: AcceptOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Fetch a model from the Hugging Face hub and import it; one that broke off goes on. Needs the network."""
    import shutil
    import sys

    from rsvlm_cli.runtime.hub import download
    from rsvlm_cli.runtime.library import models_home

    if not accept_licence:
        _check_terminal("licence and data terms are to be accepted")
    folder = download(name, revision, models_home() / ".downloads", lambda line: sys.stderr.write(f"{line}\n"))
    import_model(
        source=folder,
        name=kept_name,
        profile=profile,
        block=block,
        vision=vision,
        tasks=tasks,
        accept_licence=accept_licence,
        overwrite=overwrite,
    )
    if not keep_download:
        shutil.rmtree(folder)


@app.command(epilog="Examples:\n\nrsvlm models bundle rsunivlm-1b\n\nrsvlm models bundle nano --out usb/nano.rsvlm")
def bundle(
    name: NameArgument = DEFAULT_MODEL,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="By default NAME.rsvlm.")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a model as one file to carry, for `rsvlm models import` on a machine without network."""
    import sys

    from rsvlm_cli.output.files import check_target
    from rsvlm_cli.runtime.bundle import find_bundle, read_bundle
    from rsvlm_cli.runtime.library import SUFFIX, write_bundle_file

    found = read_bundle(find_bundle(name))
    target = out or Path(f"{found.manifest.name}{SUFFIX}")
    check_target(target, overwrite=overwrite)
    seal = write_bundle_file(found, target, overwrite=overwrite)
    sys.stdout.write(f"{target}\t{target.stat().st_size / 1e6:.1f} MB\tseal {seal}\n")


@app.command("rm", epilog="Examples:\n\nrsvlm models rm rsunivlm-1b")
def remove(name: Annotated[str, typer.Argument(metavar="NAME", help="An imported model's name.")]) -> None:
    """Delete an imported model."""
    import sys

    from rsvlm_cli.runtime.library import remove_bundle

    sys.stdout.write(f"{name}: removed {remove_bundle(name)}\n")


def _accept(told: "Mapping[str, object]", accept_licence: bool) -> str:
    """Show licence and data terms on stderr, have them accepted, and return how they were.

    Raises:
        UsageError: if the answer is no, or nobody can be asked and the flag was not given.
    """
    import sys

    from rsvlm_cli.errors import UsageError
    from rsvlm_cli.output.text import mapping_to_text

    sys.stderr.write(mapping_to_text({key: told[key] for key in TERMS}))
    if accept_licence:
        return "--accept-licence"
    _check_terminal("the licence and data terms above are to be accepted")
    if not typer.confirm("Do you accept this licence and these terms?", err=True):
        raise UsageError("not accepted, so nothing was imported")
    return "terminal"


def _check_terminal(what: str) -> None:
    import sys

    from rsvlm_cli.errors import UsageError

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"{what}: --accept-licence does so where nobody can be asked")


def _welcome(bundle: "Bundle", how: str) -> None:
    import sys

    from rsvlm_cli.runtime.library import record_acceptance

    record_acceptance(bundle, how)
    megabytes = sum(entry.size for entry in bundle.manifest.files.values()) / 1e6
    profile = bundle.manifest.quantisation.get("profile", "unknown")
    sys.stdout.write(f"{bundle.path.name}\t{bundle.path}\t{profile}\t{megabytes:.1f} MB\n")
