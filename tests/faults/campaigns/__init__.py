"""Faults by the thousand: ``python -m tests.faults.campaigns`` makes them and counts what happens.

Each module here makes one kind of fault and counts it in an ``Outcome``. A small share of each runs
with the tests (``test_campaigns.py``).
"""
