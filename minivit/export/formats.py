"""Every kind of file by its name on the command line, made from a run folder."""

from minivit.attention import Head
from minivit.errors import ConfigError
from minivit.export.image_export import OneImage
from minivit.export.model_files import onnx_model, timm_checkpoint
from minivit.export.report import report_html
from minivit.runs import Run

KINDS = {
    "json": "the attention of one layer and head as the article's JSON",
    "npz": "all of one image as NumPy arrays",
    "png": "the map of one layer and head over its image",
    "svg": "the same as vectors",
    "bertviz": "BertViz's head view as one HTML file",
    "bertviz-model": "BertViz's model view as one HTML file",
    "timm": "the model as a checkpoint that timm loads",
    "onnx": "the model as ONNX, with its attention as outputs",
    "report": "the run as one HTML page",
}


def make(
    run: Run, kind: str, *, epoch: int | None = None, image: int = 0, layer: int = 0, head: Head = "mean"
) -> str | bytes:
    """The content of one of `KINDS`, text or bytes, after `epoch` or the newest kept; layer and head count from 0.

    Raises a MiniViTError for what the run or its model does not have.
    """
    if kind not in KINDS:
        raise ConfigError(f"There is no file of the kind {kind!r}. Choose one of {', '.join(KINDS)}.")
    if kind == "report":
        return report_html(run, epoch)
    if kind in ("timm", "onnx"):
        write = timm_checkpoint if kind == "timm" else onnx_model
        return write(run.load_model(epoch), run.config.classes)
    return _of_one_image(OneImage.look(run, epoch, image), kind, layer, head)


def _of_one_image(one: OneImage, kind: str, layer: int, head: Head) -> str | bytes:
    match kind:
        case "json":
            return one.json(layer, head)
        case "npz":
            return one.npz()
        case "png":
            return one.picture(layer, head).png()
        case "svg":
            return one.picture(layer, head).svg()
        case "bertviz":
            return one.bertviz(layer)
        case "bertviz-model":
            return one.bertviz_model()
    raise AssertionError(kind)
