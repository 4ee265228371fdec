"""Delivers notifications to devices of the kind `example`, by a server that the manifest names."""

from componentize_py_types import Err
from wit_world.exports import notifier
from wit_world.imports import errors, http


class Notifier:
    def kinds(self) -> list[str]:
        return ["example"]

    def notify(self, notification: notifier.Notification) -> notifier.Outcome:
        request = http.Outgoing(
            method="POST",
            url=f"https://push.example.com/{notification.endpoint}",
            headers=[http.Header(name="content-type", value="text/plain")],
            body=(notification.preview or "New message").encode(),
            timeout_ms=None,
        )
        answer = http.fetch(request)
        if 200 <= answer.status < 300:
            return notifier.Outcome_Sent()
        if answer.status in (404, 410):
            return notifier.Outcome_Gone()
        # `Err` is the answer: here, to be asked again later.
        raise Err(errors.Fault_Retry(f"the server answered {answer.status}"))
