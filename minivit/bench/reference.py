"""The notebook's experiment with the notebook's operations: what our training is measured against.

As in the notebook: a PIL image and `ToTensor` per item, patches cut image by image, a DataLoader, three Linear layers
for q, k and v, every row of the attention computed, the loss read after every batch.

B images, N tokens, D embed_dim, K classes.
"""

import time
from collections.abc import Iterator

import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from minivit.data import ImageSet
from minivit.layers import sine_positions

PATCH = 4
DIM = 64
BATCH = 64
LR = 1e-3


class Items(Dataset[tuple[Tensor, int]]):
    """Patches (64, 48) and label of one image at a time."""

    def __init__(self, image_set: ImageSet) -> None:
        from torchvision.transforms import ToTensor

        images = image_set.images[:]
        self.images: NDArray = images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = image_set.labels.tolist()
        self.to_tensor = ToTensor()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.to_tensor(Image.fromarray(self.images[index]))
        patches = image.unfold(1, PATCH, PATCH).unfold(2, PATCH, PATCH)  # (C, 8, 8, 4, 4)
        return patches.permute(1, 2, 0, 3, 4).reshape(-1, 3 * PATCH * PATCH), self.labels[index]


class ReferenceViT(nn.Module):
    """The article's model, (B, 64, 48) -> logits (B, K) and attention (B, 65, 65)."""

    positions: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.embed = nn.Linear(3 * PATCH * PATCH, DIM)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, DIM))
        self.register_buffer("positions", sine_positions(65, DIM)[None])
        self.q, self.k, self.v, self.out = (nn.Linear(DIM, DIM) for _ in range(4))
        self.norm1, self.norm2 = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.feed_forward = nn.Sequential(nn.Linear(DIM, DIM), nn.ReLU(), nn.Linear(DIM, DIM))
        self.head = nn.Linear(DIM, num_classes)

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([self.cls_token.expand(len(patches), -1, -1), self.embed(patches)], dim=1) + self.positions
        attn = (self.q(x) @ self.k(x).mT / DIM**0.5).softmax(-1)
        x = self.norm1(x + self.out(attn @ self.v(x)))
        x = self.norm2(x + self.feed_forward(x))
        return self.head(x[:, 0]), attn


def epochs(train_set: ImageSet, test_set: ImageSet) -> Iterator[tuple[float, float]]:
    """Trains indefinitely; yields the seconds of each epoch, evaluation included, and the test accuracy."""
    torch.manual_seed(0)
    model = ReferenceViT(len(train_set.classes))
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    criterion = nn.CrossEntropyLoss()
    train_loader = DataLoader(Items(train_set), batch_size=BATCH, shuffle=True)
    test_loader = DataLoader(Items(test_set), batch_size=BATCH)
    while True:
        start = time.perf_counter()
        model.train()
        train_loss = 0.0
        for patches, labels in train_loader:
            logits, _ = model(patches)
            loss = criterion(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            train_loss += loss.item()
        model.eval()
        test_loss, num_correct = 0.0, 0
        with torch.no_grad():
            for patches, labels in test_loader:
                logits, _ = model(patches)
                test_loss += criterion(logits, labels).item()
                num_correct += int((logits.argmax(1) == labels).sum())
        yield time.perf_counter() - start, num_correct / len(test_set)
