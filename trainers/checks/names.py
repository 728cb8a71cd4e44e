"""The checks of the built-in trainer by name, in the order in which they run."""

from __future__ import annotations

__all__ = ["NAMES"]

NAMES = {
    "files": "files that could not be read",
    "classes": "pictures of each class",
    "duplicates": "training pictures that are there twice",
    "leaks": "validation pictures that are trained on too",
    "input": "mean and deviation of what the network sees",
    "output": "one finite logit for each class",
    "start": "the first loss, near that of a guess",
    "samples": "each picture is answered by itself",
    "gradients": "finite, of sane size, for every weight",
    "weights": "all of them are trained and move",
    "baseline": "what a linear model reaches",
    "labels": "whether pictures tell their labels",
    "progress": "the training as configured learns something",
    "overfit": "one batch is learnt by heart",
    "memory": "the largest step fits",
}
"""Name -> what it looks at."""
