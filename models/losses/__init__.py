"""Objectives as equations: pure functions, with no update, no logging and no device in them."""
