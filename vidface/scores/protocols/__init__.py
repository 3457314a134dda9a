"""The protocols: what is compared with what, and which numbers come of it. Pure functions on arrays and manifests.

`table.py` lists them; each is a module with its `Protocol`, some with their numbers in a module beside it. Tested
against independent oracles in ``tests/scores/protocols/`` and, on real faces, in ``tests/end_to_end/``.
"""
