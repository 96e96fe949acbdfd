"""The example run that ships with MiniViT: how it is made, and the images in it that the tour shows."""

from minivit.tour.highlights import Highlights, example_run, find_highlights, read_highlights
from minivit.tour.recipe import CONFIG, make_example
