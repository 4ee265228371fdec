import unittest

import godwit_testing as testing
from inbound_hook import Inbound
from wit_world.exports import inbound


class Answering(unittest.TestCase):
    def test_requests_are_counted(self):
        testing.reset()
        testing.host.rows["requests"] = b"41"
        request = inbound.Request(
            method="POST", path="count", query=None, headers=[], body=b"", address="192.0.2.1"
        )
        response = testing.transaction(lambda: Inbound().handle(request))
        self.assertEqual(response.body, b'{"requests":42}')
        self.assertEqual(testing.host.rows["requests"], b"42")
