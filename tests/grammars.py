"""Replies that a grammar admits, drawn at random."""

from typing import Any

from hypothesis import strategies as st

from rsvlm_cli.runtime.constrain import Grammar


def draw_reply(data: st.DataObject, grammar: Grammar[Any]) -> str:
    """Follow a grammar byte by byte to a reply that it accepts; a dead end fails."""
    state, text = grammar.start(), b""
    while not (grammar.accepts(state) and data.draw(st.booleans())):
        following = [byte for byte in range(128) if grammar.step(state, byte) is not None]
        assert following or grammar.accepts(state), text
        if not following:
            break
        byte = data.draw(st.sampled_from(following))
        state, text = grammar.step(state, byte), text + bytes([byte])
    return text.decode()
