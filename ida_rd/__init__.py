"""IDA-RD from Python: score a downscaler in a notebook, with the functions of the pipeline's stages.

>>> from ida_rd import score
>>> result = score({"mine": my_downscaler, "bicubic": {"method": "resample", "filter": "bicubic"}}, "photos")
>>> result                                  # a table, in a notebook as HTML
>>> result.differences                      # paired, with intervals and corrected p
"""

from ida_rd.scoring import Result, score

__all__ = ["Result", "score"]
