"""The sample that needs no photographs: drawn people, clips with noise frames, a small trained network.

``benchmark`` turns people, drawn (``people``) or real, into clips with a manifest and the truth.
"""
