"""A caption of one picture."""

from rsvlm_cli.tasks.dialect import Dialect, PromptKind
from rsvlm_cli.tasks.exchange import Request, build_request, read_text

read = read_text


def request(dialect: Dialect) -> Request:
    """Build the request."""
    return build_request(dialect, PromptKind.CAPTION)
