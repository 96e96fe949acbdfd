"""The example run that ships with MiniViT: how it is made, and the images in it that the tour shows."""

from minivit.tour.recipe import CONFIG, example_run, find_highlights, make_example, read_highlights
