"""Export: attention as files, a model for other programs, a run as an HTML report.

    picture     a map over its image as PNG, SVG and PDF
    bertviz     BertViz's head view and model view as one self-contained page
    image_export  these for one test image of a run, the article's JSON, and NumPy arrays
    model_files the model as a timm checkpoint, as ONNX and as a Hugging Face folder
    report      a run as an HTML report
    formats     every file format by its name

Everything here returns text or bytes; the caller writes them.
"""

from minivit.export.bertviz import bertviz_html, bertviz_model_html, tokens
from minivit.export.formats import FORMATS, ExportRequest, export
from minivit.export.image_export import ImageExport, model_scale
from minivit.export.model_files import onnx_model, timm_arguments, timm_checkpoint
from minivit.export.picture import MapPicture
from minivit.export.report import report_html
