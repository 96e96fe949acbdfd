"""One of two processes that train an epoch together: `torchrun … -m minivit.bench.processes FOLDER DEVICE`.

Unlike the workers of a run, they share a GPU if the machine has a single one. FOLDER has `config.json` and gets
`weights.safetensors`.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from minivit.config import TrainConfig
from minivit.data import load_split
from minivit.engine import Training, init_process_group


def main(folder: Path, device_type: str) -> None:
    """Trains this process's share of the epoch; the main process saves the weights."""
    config = TrainConfig.model_validate_json((folder / "config.json").read_text(encoding="utf-8"))
    with init_process_group() as group:
        device = torch.device("cpu")
        if device_type == "cuda":
            device = torch.device("cuda", group.local_rank % torch.cuda.device_count())
            torch.cuda.set_device(device)
        training = Training(config, device, *group.main_process_first(lambda: load_split(config)), group)
        training.model.train()
        for batch, target, scalars in training.batches(1):
            training.train_step(batch, target, scalars)
        if group.is_main:
            save_file({"values": training.train_step.flat.values.cpu()}, folder / "weights.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
