"""Upscalers of this experiment alone."""
