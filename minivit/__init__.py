"""MiniViT: train a small Vision Transformer and see what it attends to."""

import time

IMPORTED = time.monotonic()  # seconds; a command that is given a time counts from here, before torch is imported
