import os
import unittest

import greeting


class GreetingTest(unittest.TestCase):
    def test_the_service_greets(self):
        self.assertEqual(greeting.fetch(os.environ["SERVICE"]), "Hello, world!")


if __name__ == "__main__":
    unittest.main()
