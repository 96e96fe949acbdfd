"""MiniViT: train a small Vision Transformer and see what it attends to."""
