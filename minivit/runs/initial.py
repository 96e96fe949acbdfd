"""Initial weights from another run, `TrainConfig.init_from`; `Run.create` copies them into the new run's folder."""

from pathlib import Path

from torch import Tensor

from minivit.config import TrainConfig
from minivit.errors import ConfigError
from minivit.runs.checkpoint import load_tensors
from minivit.runs.listing import find_run
from minivit.runs.run import Run

HEAD_PREFIXES = ("head.", "head_dist.")
MAY_DIFFER = {"num_classes", "drop_rate"}  # of the settings of the model


def keeps_head(config: TrainConfig, runs_dir: str | Path | None = None) -> bool:
    """Whether the classification head is taken over too, as the classes are the same.

    RunError if the run is missing, ConfigError if its model differs from that of `config`.
    """
    source, _ = _find_source(config, runs_dir)
    return (source.config.classes, source.config.model.num_classes) == (config.classes, config.model.num_classes)


def initial_weights(config: TrainConfig, runs_dir: str | Path | None = None) -> dict[str, Tensor]:
    """The weights that `config.init_from` names, without the head if the classes differ; raises like `keeps_head`."""
    source, epoch = _find_source(config, runs_dir)
    weights = source.load_model(epoch).state_dict()
    if keeps_head(config, runs_dir):
        return weights
    return {name: tensor for name, tensor in weights.items() if not name.startswith(HEAD_PREFIXES)}


def load_initial(run: Run) -> dict[str, Tensor] | None:
    """The copy in the run's folder, None if it starts from random weights; RunError if it cannot be read."""
    return load_tensors(run.path / "init.safetensors")[0] if run.config.init_from else None


def _find_source(config: TrainConfig, runs_dir: str | Path | None) -> tuple[Run, int]:
    run_id, _, epoch = config.init_from.rpartition(":")
    if not run_id or not (epoch.isascii() and epoch.isdecimal()):
        raise ConfigError(
            f"Initial weights (init_from) is {config.init_from!r}. Write the folder of a run and a saved epoch, such "
            "as 20260102-101112-cat-dog:20."
        )
    source = find_run(run_id, runs_dir)
    theirs, ours = (each.model.model_dump(exclude=MAY_DIFFER) for each in (source.config, config))
    if differences := [f"{name} ({theirs[name]}, not {ours[name]})" for name in ours if theirs[name] != ours[name]]:
        raise ConfigError(
            f"The weights of {run_id} do not match this model, which differs in {', '.join(differences)}. Use the "
            "settings of that run, or start from random weights."
        )
    return source, int(epoch)
