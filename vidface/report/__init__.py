"""What people look at: figures and self-contained pages, read-only on results."""
