"""Scenes: a small world with the structure of GenEval, and models of the full-size classes trained on it."""
