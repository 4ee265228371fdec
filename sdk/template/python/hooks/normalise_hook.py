"""Changes what is about to be sent: two hyphens become a dash."""

from typing import Optional

from wit_world.exports import normalise
from wit_world.imports import types


class Normalise:
    def normalise(self, scene: types.Scene, content: types.Content) -> Optional[normalise.Rewrite]:
        if " -- " not in content.body:
            return None
        return normalise.Rewrite(body=content.body.replace(" -- ", " – "), mentions=content.mentions)
