"""Export formats by their names on the command line."""

from collections.abc import Callable
from dataclasses import dataclass

from minivit.attention import Head
from minivit.errors import ConfigError
from minivit.export.image_export import ImageExport
from minivit.export.model_files import hub_archive, onnx_model, timm_checkpoint
from minivit.export.picture import PictureFormat
from minivit.export.report import report_html
from minivit.imports import head_class_names
from minivit.runs import Run


@dataclass(frozen=True)
class ExportRequest:
    """What to export: an epoch (None for the newest), a test image, a layer from 0 and a head."""

    epoch: int | None = None
    image: int = 0
    layer: int = 0
    head: Head = "mean"


@dataclass(frozen=True)
class Format:
    """A file format: its description, and the function that makes the file. A folder is made as a .zip."""

    description: str
    make: Callable[[Run, ExportRequest], str | bytes]
    is_folder: bool = False


def _of_image(make: Callable[[ImageExport, ExportRequest], str | bytes]) -> Callable[[Run, ExportRequest], str | bytes]:
    return lambda run, request: make(ImageExport.of(run, request.epoch, request.image), request)


def _picture(fmt: PictureFormat) -> Callable[[Run, ExportRequest], str | bytes]:
    return _of_image(lambda image, request: image.picture(request.layer, request.head).render(fmt))


FORMATS = {
    "json": Format(
        "the attention of one layer and head as the article's JSON",
        _of_image(lambda image, request: image.json(request.layer, request.head)),
    ),
    "npz": Format("everything about one image as NumPy arrays", _of_image(lambda image, _: image.npz())),
    "png": Format("the map of one layer and head over its image", _picture("png")),
    "svg": Format("the same as vector graphics", _picture("svg")),
    "pdf": Format("the same for print", _picture("pdf")),
    "bertviz": Format(
        "BertViz's head view as one HTML file", _of_image(lambda image, request: image.bertviz(request.layer))
    ),
    "bertviz-model": Format("BertViz's model view as one HTML file", _of_image(lambda image, _: image.bertviz_model())),
    "timm": Format(
        "the model as a checkpoint that timm loads",
        lambda run, request: timm_checkpoint(
            run.load_model(request.epoch), head_class_names(run), run.config.preprocessing
        ),
    ),
    "onnx": Format(
        "the model as ONNX, with its attention as outputs",
        lambda run, request: onnx_model(run.load_model(request.epoch), head_class_names(run), run.config.preprocessing),
    ),
    "huggingface": Format(
        "the model as a Hugging Face folder with a model card, which transformers and timm load",
        lambda run, request: hub_archive(run, request.epoch),
        is_folder=True,
    ),
    "report": Format("the run as one HTML page", lambda run, request: report_html(run, request.epoch)),
}


def export(run: Run, fmt: str, request: ExportRequest = ExportRequest()) -> str | bytes:
    """The content of a file in one of `FORMATS`; a MiniViTError if the run or its model lacks what is needed."""
    if fmt not in FORMATS:
        raise ConfigError(f"There is no file format {fmt!r}. Choose one of {', '.join(FORMATS)}.")
    return FORMATS[fmt].make(run, request)
