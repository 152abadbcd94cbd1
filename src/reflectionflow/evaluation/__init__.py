"""Judging what a search made: an independent judge of Scenes pictures, statistics, comparisons.

Nothing that searches, builds training data or trains may import this package: the judge of an evaluation is never the
verifier of the search, the labeller of the training data, or a relative of either (a test checks it).
"""
