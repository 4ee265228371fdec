"""Answers HTTP requests to `/v1/hooks/{plugin}/count`: counts them."""

import json

from wit_world.exports import inbound
from wit_world.imports import kv


class Inbound:
    def handle(self, request: inbound.Request) -> inbound.Response:
        if request.path != "count":
            return inbound.Response(status=404, media=inbound.Media.TEXT, body=b"There is only /count.")
        requests = int(kv.get("requests") or b"0") + 1
        kv.set("requests", str(requests).encode(), None)
        body = json.dumps({"requests": requests}, separators=(",", ":")).encode()
        return inbound.Response(status=200, media=inbound.Media.JSON, body=body)
