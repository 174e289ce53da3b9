"""``rsvlm schema``: what ``--json`` promises."""

EXAMPLES = ("rsvlm schema > report.schema.json",)


def schema() -> None:
    """Print the JSON Schema (2020-12) of what --json and --jsonl print."""
    import json
    import sys

    from rsvlm_cli.output.schema import build_schema

    sys.stdout.write(json.dumps(build_schema(), indent=1, ensure_ascii=False) + "\n")
