"""Networks of latent diffusion, built by the packages diffusers and transformers from configurations in code.

No configuration is fetched, and nothing of these packages is imported before a network is built.
"""
