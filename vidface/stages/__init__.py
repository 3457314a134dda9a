"""The stages: each reads files, calls the pure functions of the core, and writes one file.

extract (frames -> features), cluster (features -> embeddings), score and sweep (embeddings -> numbers),
submit (embeddings -> challenge files), recipe (the stages chained).
"""
