"""One video closely, and one face looked for in all videos."""
