"""All pairs of a set, exactly, without holding them: in blocks and threads, and drawn again."""
