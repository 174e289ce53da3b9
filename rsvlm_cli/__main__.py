"""``python -m rsvlm_cli``."""

from rsvlm_cli.main import app

app(prog_name="rsvlm")
