"""What upscalers by diffusion have in common: the law of their noise, batches and progress; and ancestral steps."""
