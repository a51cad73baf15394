import unittest

from orders.machine import TABLE, Order, Refused

EVENTS = sorted({event for moves in TABLE["moves"].values() for event in moves})


class TableTest(unittest.TestCase):
    def test_final_states_lead_nowhere(self):
        for state in ("cancelled", "refunded"):
            self.assertIn(state, TABLE["final"])
            self.assertEqual(TABLE["moves"][state], {})

    def test_only_final_states_lead_nowhere(self):
        stuck = {state for state, moves in TABLE["moves"].items() if not moves}
        self.assertEqual(stuck, set(TABLE["final"]))

    def test_every_state_can_be_reached(self):
        seen, ahead = set(), [TABLE["start"]]
        while ahead:
            state = ahead.pop()
            if state not in seen:
                seen.add(state)
                ahead.extend(TABLE["moves"][state].values())
        self.assertEqual(seen, set(TABLE["moves"]))

    def test_a_refused_event_changes_nothing(self):
        for state, moves in TABLE["moves"].items():
            for event in EVENTS:
                if event in moves:
                    continue
                order = Order()
                order.state = state
                with self.assertRaises(Refused, msg=f"{event} in {state}"):
                    order.apply(event)
                self.assertEqual((order.state, order.history), (state, []))

    def test_a_replay_is_all_or_nothing(self):
        order = Order()
        order.apply("pay")
        with self.assertRaises(Refused):
            order.replay(["pack", "ship", "pack"])
        self.assertEqual((order.state, order.history), ("paid", [("pay", "paid")]))
        self.assertEqual(order.replay(["pack", "ship"]), "shipped")
