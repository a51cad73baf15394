import unittest
from decimal import Decimal

from sales.reader import read
from sales.totals import by_region

EXPORT = """day,region,customer,amount
2026-04-01,west,"Salt Works
Quay 3",10.00

2026-04-02,west,"The ""Old"" Pier",0.10
2026-04-02,west,Salt Works,0.20
2026-04-03,east,Gull Ltd,-5.00
"""


class ExportTest(unittest.TestCase):
    def test_a_quoted_field_may_hold_a_line_break(self):
        self.assertEqual(read(EXPORT)[0].customer, "Salt Works\nQuay 3")

    def test_doubled_quotes_are_one_quote(self):
        self.assertEqual(read(EXPORT)[1].customer, 'The "Old" Pier')

    def test_windows_line_ends(self):
        self.assertEqual(len(read("day,region,customer,amount\r\n2026-04-01,west,A,1\r\n")), 1)

    def test_a_region_with_refunds_only_is_listed(self):
        self.assertEqual(by_region(read(EXPORT)), {"west": Decimal("10.30"), "east": Decimal("-5.00")})
