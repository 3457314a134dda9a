"""Raw videos: faces are detected, followed through the frames and aligned to what a backbone takes."""
