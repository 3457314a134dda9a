"""vidface: the open evaluation bench for face recognition in video, from clips to a trusted score."""

__version__ = "0.1.0"
