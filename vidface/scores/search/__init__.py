"""Searches of a gallery, exact to the last tie."""
