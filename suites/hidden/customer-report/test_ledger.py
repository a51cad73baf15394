import unittest

from tests.shop import balance


class LedgerTest(unittest.TestCase):
    def test_equal_parts_and_equal_items_all_count(self):
        rows = balance(
            """
            INSERT INTO customers VALUES (1, 'Anker');
            INSERT INTO orders VALUES (10, 1, 'open'), (11, 1, 'shipped');
            INSERT INTO items VALUES (10, 'rope', 1, 400), (10, 'line', 2, 200), (11, 'rope', 1, 400);
            INSERT INTO payments VALUES (10, '2026-03-01', 250), (10, '2026-03-08', 250), (11, '2026-03-09', 250);
            """
        )
        self.assertEqual(rows, [("Anker", 1200, 750, 450)])

    def test_a_payment_without_items_is_owed_back(self):
        rows = balance(
            """
            INSERT INTO customers VALUES (1, 'Anker'), (2, 'Brandt');
            INSERT INTO orders VALUES (10, 1, 'open'), (11, 1, 'cancelled'), (12, 2, 'open');
            INSERT INTO items VALUES (11, 'rope', 1, 999), (12, 'paint', 1, 100);
            INSERT INTO payments VALUES (10, '2026-03-01', 50), (11, '2026-03-02', 70);
            """
        )
        self.assertEqual(rows, [("Anker", 0, 50, -50), ("Brandt", 100, 0, 100)])
