"""Embeddings become numbers: metrics on arrays, protocols that say what is compared, tables for people."""
