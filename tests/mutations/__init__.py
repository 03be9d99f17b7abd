"""Deliberate bugs, and the tests that must find them."""
