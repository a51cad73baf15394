import unittest

from textutils import slug, title


class EdgesTest(unittest.TestCase):
    def test_an_apostrophe_does_not_end_a_word(self):
        self.assertEqual(title("don't panic"), "Don't Panic")

    def test_white_space_inside_a_title_is_collapsed(self):
        self.assertEqual(title("low \t tide\nagain"), "Low Tide Again")

    def test_runs_of_punctuation_make_one_dash(self):
        self.assertEqual(slug("Ships & Boats -- 2nd edition"), "ships-boats-2nd-edition")

    def test_a_slug_has_no_dash_at_its_ends(self):
        self.assertEqual(slug("  (Draft) Harbour! "), "draft-harbour")
