"""What a region of a picture shows."""

from rsvlm_cli.tasks.dialect import Dialect, PromptKind
from rsvlm_cli.tasks.exchange import Request, build_request, read_text
from rsvlm_cli.tasks.grammar import BoxFrac, format_box

read = read_text


def request(dialect: Dialect, box_frac: BoxFrac) -> Request:
    """Build the request for a region given in the model's frame."""
    return build_request(dialect, PromptKind.DESCRIBE, box=format_box(box_frac, dialect.box_scale))
