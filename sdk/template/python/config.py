"""What an operator sets, as `[config.schema]` in plugin.toml describes it."""

import json

from componentize_py_types import Err

word = "spoiler"
"""What the examples are about, in small letters."""


class Lifecycle:
    """Called once in each instance; what it raises as `Err` is told to the operator."""

    def init(self, config: str) -> None:
        global word
        given = json.loads(config or "{}").get("word", "spoiler")
        if not given.strip():
            raise Err("the word is empty")
        word = given.lower()
