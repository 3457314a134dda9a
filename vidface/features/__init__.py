"""Frames become features: what is done to a video, where the work runs, and features of other tools."""
