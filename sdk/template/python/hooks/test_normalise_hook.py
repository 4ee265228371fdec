import unittest

import godwit_testing as testing
from normalise_hook import Normalise


class Normalising(unittest.TestCase):
    def test_two_hyphens_become_a_dash(self):
        run = lambda body: Normalise().normalise(testing.scene(), testing.content(body))
        self.assertEqual(run("a -- b").body, "a – b")
        self.assertIsNone(run("a-b"))
