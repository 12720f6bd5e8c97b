"""Golden values of latent diffusion: tables, whole loops, and the tiny networks that these were computed with."""
