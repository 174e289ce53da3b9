"""Weights from the Hugging Face hub: the one module besides a server's that opens a socket, and only when it is called.

A file is fetched into ``NAME.part``, which a later call goes on with (the library's own download starts afresh), and
takes its name when size and hash are those that the hub states: SHA-256 of a large file, git's object id of others.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from rsvlm_cli.errors import BundleCorrupt, BundleError, BundleNotFound, UsageError
from rsvlm_cli.runtime.bundle import MANIFEST

REPOSITORIES = {"rsunivlm-1b": "liux-cyber/RSUniVLM"}
"""Names that we give to repositories of others; any OWNER/REPOSITORY serves too."""

TEXT_FILES = (
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"),
    *("vocab.json", "merges.txt", "added_tokens.json"),
)

CHUNK_BYTES = 1 << 16
LARGE_BYTES = 10_000_000
"""A tenth that is larger is worth a line."""
TIMEOUT_S = 30

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file as the hub states it.

    Attributes:
        name: within the repository, without folders.
        size: bytes.
        sha256: of a large file, else None.
        blob_id: git's object id, SHA-1 of the content behind its head.
    """

    name: str
    size: int
    sha256: str | None
    blob_id: str

    def is_whole(self, path: Path) -> bool:
        """Say whether a local file has this size and hash."""
        if path.stat().st_size != self.size:
            return False
        digest = hashlib.sha256() if self.sha256 else hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        return digest.hexdigest() == (self.sha256 or self.blob_id)


def download(name: str, revision: str | None, home: Path, say: Say) -> Path:
    """Fetch what an import needs of a repository; what is there already is not fetched again.

    Args:
        name: one of `REPOSITORIES`, or OWNER/REPOSITORY.
        revision: branch, tag or commit; None for the newest.
        home: the folder below which downloads are kept.
        say: is told of each file.

    Returns:
        The folder of one commit, whole.

    Raises:
        UsageError: if huggingface_hub is not installed.
        BundleNotFound: if there is no such repository, revision or model in it.
        BundleCorrupt: if a file that came differs from what the hub states.
        BundleError: if the hub cannot be reached or breaks off; calling again goes on.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        from huggingface_hub import HfApi, hf_hub_url
        from huggingface_hub.errors import HTTPError, RepositoryNotFoundError, RevisionNotFoundError
    except ImportError as error:
        raise UsageError("huggingface_hub is not installed, pull needs it: pip install 'rsvlm[hub]'") from error
    repository = REPOSITORIES.get(name, name)
    if repository.count("/") != 1:
        raise BundleNotFound(f"{name}: no name that is known ({', '.join(REPOSITORIES)}) and no OWNER/REPOSITORY")
    try:
        info = HfApi().model_info(repository, revision=revision, files_metadata=True)
        files = _choose(repository, [_read(s.rfilename, s.size, s.lfs, s.blob_id) for s in info.siblings or []])
        folder = home / f"{repository.replace('/', '--')}--{str(info.sha)[:12]}"
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            path, part = folder / file.name, folder / f"{file.name}.part"
            if path.is_file() and file.is_whole(path):
                continue
            _fetch(hf_hub_url(repository, file.name, revision=info.sha), file, part, say)
            if not file.is_whole(part):
                part.unlink()
                raise BundleCorrupt(f"{repository}: {file.name} came altered, its hash is not the hub's (pull again)")
            part.replace(path)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise BundleNotFound(f"{repository}: {str(error).splitlines()[0]} (is it spelt so, and public?)") from error
    except (HTTPError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BundleError(f"{repository}: the hub broke off: {reason} (pull again: it goes on where it was)") from error
    return folder


def _fetch(url: str, file: RemoteFile, part: Path, say: Say) -> None:
    """Append what is missing of a file, and try again as long as bytes come."""
    from huggingface_hub.errors import HTTPError
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    if part.is_file() and part.stat().st_size > file.size:
        part.unlink()
    with part.open("ab") as target:
        held, told = target.tell(), target.tell()
        say(f"{file.name}, {file.size / 1e6:.1f} MB" + (f", going on at {held / 1e6:.1f} MB" if held else ""))
        while held < file.size:
            headers = {**build_hf_headers(), "Accept-Encoding": "identity", "Range": f"bytes={held}-"}
            try:
                with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT_S) as response:
                    hf_raise_for_status(response)
                    if response.status_code != HTTPStatus.PARTIAL_CONTENT:
                        target.seek(0)  # it sends all of it
                        target.truncate()
                    for chunk in response.iter_bytes(CHUNK_BYTES):
                        target.write(chunk)
                        if target.tell() - told > file.size / 10 > LARGE_BYTES:
                            told = target.tell()
                            say(f"{file.name}, {told / file.size:.0%}")
            except HTTPError:
                if target.tell() <= held:
                    raise
            if target.tell() <= held:
                return
            held = target.tell()


def _read(name: str, size: int | None, lfs: object, blob_id: str | None) -> RemoteFile:
    return RemoteFile(name=name, size=size or 0, sha256=getattr(lfs, "sha256", None), blob_id=blob_id or "")


def _choose(repository: str, files: list[RemoteFile]) -> list[RemoteFile]:
    """Return a bundle's files, or a checkpoint's: configuration, tokenizer, and safetensors before pickles."""
    plain = [file for file in files if "/" not in file.name and "\\" not in file.name and not file.name.startswith(".")]
    if any(file.name == MANIFEST for file in plain):
        return [file for file in plain if not file.name.endswith(".md")]
    for stem, suffix in (("model", ".safetensors"), ("pytorch_model", ".bin")):
        weights = [f for f in plain if f.name.startswith(stem) and f.name.endswith((suffix, f"{suffix}.index.json"))]
        if weights:
            return [*(file for file in plain if file.name in TEXT_FILES), *weights]
    raise BundleNotFound(f"{repository}: holds neither a bundle nor weights (wanted model.safetensors)")
