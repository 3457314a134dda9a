"""The sample that needs no photographs: drawn people, clips with noise frames, a small trained network.

``people`` says what a drawn person is, ``drawing`` makes pictures of him, ``noise`` makes frames that show
no usable face, and ``benchmark`` turns people, drawn or real, into clips with a manifest and the truth.
"""
