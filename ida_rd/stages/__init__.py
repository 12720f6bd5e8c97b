"""The DVC stages, a thin script each: ``python -m ida_rd.stages.downscale bicubic 4``.

A clone runs them as ``python stages/downscale.py``, a project that ``ida-rd new`` made by the line above.
"""
