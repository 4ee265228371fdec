import unittest

import godwit_testing as testing
from notifier_hook import Notifier
from wit_world.exports import notifier
from wit_world.imports import http


class Notifying(unittest.TestCase):
    def test_a_device_that_is_gone_is_told(self):
        testing.reset()
        testing.host.answer_http = lambda request: http.Incoming(
            status=202 if request.url.endswith("/known") else 410, headers=[], body=b""
        )

        def notify(endpoint):
            notification = notifier.Notification(
                kind="example",
                endpoint=endpoint,
                keys=None,
                user=testing.id_of(2),
                device="1",
                conversation=testing.id_of(1),
                seq=1,
                sender=testing.id_of(3),
                preview=None,
            )
            return Notifier().notify(notification)

        self.assertEqual(notify("known"), notifier.Outcome_Sent())
        self.assertEqual(notify("unknown"), notifier.Outcome_Gone())
