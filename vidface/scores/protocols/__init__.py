"""The protocols: what is compared with what, and which numbers come of it. Pure functions on arrays and manifests.

iqiyi: identity templates against a gallery, mAP@100 and rank-k. lfrc: all pairs of videos, TPR at FPR.
Tested against independent oracles in ``tests/scores/protocols/`` and, on real faces, in ``tests/end_to_end/``.
"""
