"""What a person takes along: attention as files, a model for other programs, a run as one page.

    arrays      one image's attention as the article's JSON and as NumPy arrays
    picture     a map over its image as PNG and SVG
    bertviz     BertViz's head view and model view as one page that loads nothing
    one_image   all of these for one test image of a run
    model_files the model as a checkpoint of timm's and as ONNX
    report      a run as one page
    kinds       every kind of file by its name

Everything here returns text or bytes; whoever asks decides where they go.
"""

from minivit.export.arrays import article_json, attention_npz, one_head, tokens
from minivit.export.bertviz import bertviz_html, bertviz_model_html
from minivit.export.formats import KINDS, make
from minivit.export.image_export import OneImage, model_scale
from minivit.export.model_files import onnx_model, timm_arguments, timm_checkpoint
from minivit.export.picture import MapPicture
from minivit.export.report import report_html
