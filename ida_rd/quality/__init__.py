"""The room of measures that look at one image alone, with no reference: no stage of the pipeline runs them.

They judge how natural an image looks, not what a downscaler lost: docs/quality.md says what each number may be used
for. ``ida-rd quality`` and the experiment ``nr-iqa`` take them.
"""
