"""Features become one embedding a video: frames are clustered, what is noise goes, the rest is pooled."""
