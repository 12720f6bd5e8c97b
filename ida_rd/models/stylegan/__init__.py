"""The generator of StyleGAN [1]_: a mapping network, a synthesis network, and how their files are read.

References
----------
.. [1] Karras, Laine, Aila, "A style-based generator architecture for generative adversarial networks", CVPR 2019.
"""
