"""Turn an experiment's rows into its table, its figure, and a paragraph that says what they show.

    python -m ida_rd.study      # in an experiment's folder; `dvc repro` there runs it

The folder's ``study.yaml`` says what is compared with what:

* ``kind: ladders``: each ladder is a list of conditions, the mildest first. The claim: every rung loses more
  than the one before.
* ``kind: threshold``: likewise, but each rung is compared with the first: from which rung on does the score detect it?
* ``kind: order``: groups of conditions. The claim: each loses more than every one in the group before.
* ``kind: ranking``: groups of conditions, each compared with ``baseline``.

Every comparison is the paired difference by the leading distortion, image by image; what is inferred, is inferred from
photographs (`ida_rd.aggregate.statistics`). It is shown where p, corrected as its kind demands, is below 1 - confidence
and the mean is positive:

* ladders and order claim that all comparisons hold, so that none is corrected (intersection-union);
* a ranking makes as many claims as it has comparisons: Holm's method;
* the panels of thresholds are fixed sequences, from the strongest rung down to the first that is not seen.

``equivalence: {margin, distortion, reason}`` says which differences are too small to matter: two are called alike only
where that is shown. ``paper`` has the paper's values, in columns beside ours: of other upscalers and images, so
that what can be compared is their order. A panel that is ``aside`` is shown, but no part of the claim; ``log: 1`` draws
levels by their distance from 1, on a logarithmic axis.

The results hold ``images.csv``, the score of every image, and ``provenance.json``. ``python -m ida_rd.study --from
results/<data>`` computes the differences from these alone, and says how far they are from ``differences.csv``.
"""
