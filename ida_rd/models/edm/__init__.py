"""A compact diffusion model of the super-resolution residual, in the space and by the law of [1]_.

| module | |
|---|---|
| `config` | `EDMConfig`: the shape of a network |
| `space` | an image as a whitened residual y, and back |
| `network` | the denoiser, and `EDMNet`: encoder, space and denoiser together |
| `solver` | noise levels, and steps of second order |
| `checkpoint` | files of weights |

References
----------
.. [1] Karras et al., "Elucidating the design space of diffusion-based generative models", NeurIPS 2022.
"""
