"""Benchmarks with a name and a version, such as ``idard-photo-x4@1``: a YAML file in this folder for each.

What such a file says is never changed: a change is a file of the next version.
"""
