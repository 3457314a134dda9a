"""Sets of labelled face images, for training and verification: folders of people, tar shards, .rec and .bin files.

``open_images`` tells what a path holds and opens it as an ``ImageSet``; nothing is unpacked, and nothing is decoded
before it is asked for.
"""
