"""The paper's losses, one file each: pure functions on tensors with their true gradients.

docs/training.md lists which equation is where. ``cosine.py``, ``margin.py`` and ``softmax.py`` (equations 2 to 4) are
what they share, ``objective.py`` is their weighted sum; ``shard.py`` lets every function work on the classes of one
process only, and ``precision.py`` keeps them in float32.
"""
