"""The benchmarks behind tools/bench.py, one stage a module."""
