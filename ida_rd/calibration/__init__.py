"""May a decoder be used to measure? Its samples are held against what exact samples of the posterior would show.

If HR is drawn from p(X) and the samples from p(X | LR), then HR and its K samples are exchangeable given LR. All that
is computed here follows from that alone, so that the value of exact samples is known although the posterior is not.

=============  =======================================================================================
resampling     intervals and tests over photographs: the studentised bootstrap
ranks          rank histograms: pixels, wavelet coefficients, projections of features
spread         variance against squared error, distances among samples against those to HR, energy score
coverage       coverage of balls about random references (TARP)
spaces         in what an image is looked at: wavelets, features of fixed filters, projections
measure        one image: all numbers that a card is made of
card           all images: the rows of a card, what departs, and how
text, draw     the card as Markdown and LaTeX; as one figure
branch, run    a branch's files; all downscalers of a call
=============  =======================================================================================

The first four are pure statistics of arrays. Nothing here decides a score: no stage of the pipeline runs it.
"""
