"""Turn an experiment's rows into its table, its figure, and a paragraph that says what they show.

    python -m ida_rd.study      # in an experiment's folder; `dvc repro` there runs it

The folder's ``study.yaml`` says what is compared with what:

* ``kind: ladders``: each ladder is a list of conditions, the mildest first. The claim: every rung loses more
  than the one before.
* ``kind: threshold``: likewise, but each rung is compared with the first: from which rung on does the score detect it?
* ``kind: order``: groups of conditions. The claim: each loses more than every one in the group before.
* ``kind: ranking``: groups of conditions, each compared with ``baseline``.

Every comparison is the paired difference over the images by the leading distortion, with a bootstrap
interval; it is shown where the interval excludes zero. The paper's values stand beside ours in a column of
their own: they are from another upscaler and other images, so what can be compared is their order.
"""
