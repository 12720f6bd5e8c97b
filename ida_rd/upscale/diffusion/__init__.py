"""What upscalers by diffusion have in common: the law of their noise, batches and progress; and their samplers.

`chain` is that law, `parameters` what all of them can be told, and `ancestral` the steps of a network that is told
noise levels. For networks of latents, which are told times:

| module | names |
|---|---|
| `sampler` | `Sampler`, `State`, `Network`: what samplers share; `clean`, `noise_in`: what a network's output says |
| `schedule` | `scaled_linear`, `zero_terminal`: what is left of an image at a time; `evenly_spaced`, `from_below` |
| `spaced` | `Spaced`: ancestral steps over some of the times (DDPM) |
| `ddim` | `DDIM`: any eta |
| `edm` | `EulerAncestral`, `DPM2M`, `SDE3M`: over noise levels |
| `dpm_solver` | `DPMSolver2M`: over times between the trained ones |
| `samplers` | `SAMPLERS`, `Name`, `sampler_of`: any of them by its name |
| `start` | `towards`, `drawn`, `posterior`: what a chain begins from, and noise besides that of its steps |
| `guidance` | `guided`, `rising`: two prompts |
| `tiles` | `windows`, `weights`, `tiled`: a network over a large latent |
| `colour` | `FIXES`, `wavelet`, `adain`, `none`: colours of the result by those of the LR image |

A chain of such a network is `sampler.begin(noise.start(shape))`, then ``sampler.step(number, state, network, noise)``
for each of the sampler's `steps`, and `state.x` at the end.
"""
