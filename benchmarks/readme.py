"""Write into the README what its commands print: ``python -m benchmarks.readme``, from the checkout's root.

In every ``console`` block the lines behind a ``$`` are run in the order of the page, in a new folder in which
``rsvlm demo`` has written its files; what they print on stdout replaces what stood beneath them.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
CONSOLE_BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```)", re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    """Return the command lines of a page's ``console`` blocks, in order, without the ``$``."""
    lines = (line for block in CONSOLE_BLOCK.findall(page) for line in block.splitlines())
    return [line[2:] for line in lines if line.startswith("$ ")]


def run(line: str, folder: Path) -> str:
    """Run one line in ``folder`` and return its stdout; ``rsvlm`` is the running Python's.

    Raises:
        SystemExit: if it fails; the exit codes of ``--test`` are answers.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = ["bash", "-o", "pipefail", "-c", line]
    env = os.environ | {"PATH": path, "COLUMNS": "100", "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode not in ((0, 10) if "--test" in line else (0,)):
        raise SystemExit(f"{line}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def main() -> None:
    """Rewrite the README."""
    page = README.read_text("utf-8")
    with tempfile.TemporaryDirectory() as name:
        run("rsvlm demo", Path(name))
        outputs = {line: run(line, Path(name)) for line in commands(page)}
    shown = CONSOLE_BLOCK.sub(
        lambda block: "".join(f"$ {line}\n{outputs[line]}" for line in commands(f"```console\n{block[0]}```")), page
    )
    README.write_text(shown, "utf-8")


if __name__ == "__main__":
    main()
