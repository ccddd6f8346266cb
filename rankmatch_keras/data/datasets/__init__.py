"""The public data sets we know: each is a thin description of where a set keeps its files and what its masks mean.

None of them downloads anything; `data/README.md` of the project says where each set comes from and how to lay it out.
"""

from rankmatch_keras.data.datasets.ade20k import ADE20K
from rankmatch_keras.data.datasets.camvid import CamVid
from rankmatch_keras.data.datasets.cityscapes import Cityscapes
from rankmatch_keras.data.datasets.coco_stuff import COCOStuff
from rankmatch_keras.data.datasets.lucchi import Lucchi
from rankmatch_keras.data.datasets.pascal_voc import PascalVOC
from rankmatch_keras.data.datasets.sample_scenes import SampleScenes

__all__ = ["ADE20K", "COCOStuff", "CamVid", "Cityscapes", "Lucchi", "PascalVOC", "SampleScenes"]
