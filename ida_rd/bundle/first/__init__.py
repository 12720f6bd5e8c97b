"""Numbers of bundles of version 1, as ida-rd 0.1.0 computed them; bundles are read for ever.

Its unit of inference was the image: bootstrap intervals (BCa), Wilcoxon's signed-rank test, Friedman's and Nemenyi's.
What replaced them, and why, is in `ida_rd.aggregate.statistics`. Nothing here is used for anything else, and none of it
is ever changed.
"""
