"""Files, written whole or not at all: locks, HDF5 and its schema, TOML, npy, pickles read without running them."""
