"""What StableSR [1]_ adds to the networks of latent diffusion: modules around those of the package diffusers.

References
----------
.. [1] Wang et al., "Exploiting diffusion prior for real-world image super-resolution", IJCV 2024.
"""
