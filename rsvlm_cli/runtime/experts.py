"""Which of a family's experts a bundle holds: some bundles leave some out (docs/bundle-format.md, ``experts_kept``)."""

from rsvlm_cli.errors import BundleError, InputError
from rsvlm_cli.runtime.bundle import Manifest


def find_expert(manifest: Manifest, expert: int) -> int:
    """Return where the graph keeps an expert of the family.

    Raises:
        BundleError: if the bundle was made without it.
        InputError: if the family has no such expert.
    """
    kept, names = manifest.experts_kept or range(manifest.decoder.experts), manifest.expert_names or ()
    if expert in kept:
        return kept.index(expert)
    if not 0 <= expert < len(names):
        raise InputError(f"expert {expert}, {manifest.name} has {manifest.decoder.experts}")
    held = " and ".join(names[e] for e in kept)
    raise BundleError(
        f"{manifest.name}: made for {held} tasks alone, and this is a task of the {names[expert]} kind "
        f"(export it again with --tasks {','.join(names)}, or name another --model)"
    )
