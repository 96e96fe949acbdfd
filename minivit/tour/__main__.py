"""`python -m minivit.tour` trains the example run again and replaces `minivit/tour/example/`."""

from minivit.tour.recipe import make_example

if __name__ == "__main__":
    make_example()
