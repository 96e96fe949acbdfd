"""When a run ends before its last epoch: at its target accuracy, or when it no longer improves."""

from collections.abc import Mapping

from minivit.config import TrainConfig


def stop_reason(config: TrainConfig, test_accs: Mapping[int, float]) -> str | None:
    """Why training ends now, as a sentence, None if it goes on; `test_accs` are the test accuracies by epoch.

    Patience counts epochs since the first one with the best accuracy so far.
    """
    if not test_accs:
        return None
    last = max(test_accs)
    best = min(test_accs, key=lambda epoch: (-test_accs[epoch], epoch))
    if config.target_acc and test_accs[last] >= config.target_acc:
        return f"Reached the target accuracy of {100 * config.target_acc:g}% in epoch {last}."
    if config.patience and last - best >= config.patience:
        return f"Stopped early: in {config.patience} epochs, no test accuracy was better than that of epoch {best}."
    return None
