"""The page of one run: what it says, gathered from the run, and how it is laid out."""
