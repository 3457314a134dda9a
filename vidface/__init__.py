"""vidface: the open evaluation bench for face recognition in video, from clips to a trusted score."""

import os

__version__ = "0.1.0"

# onnxruntime keeps a device number in the home folder and can send usage data: not from here. Read when it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
