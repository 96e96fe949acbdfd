"""The example run that ships with MiniViT: how it is made, and the images in it that the tour shows."""

from minivit.tour.recipe import CONFIG, make_example
from minivit.tour.sights import Sights, example_run, find_sights, read_sights
