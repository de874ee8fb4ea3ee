"""Membership-inference attacks: generators that ask for noise predictions, and the one engine that answers them.

One file an attack, found by its spec's `kind`. Scores of every attack: higher = more member-like, fixed beforehand.
"""
