"""PASCAL VOC 2012 with 92 labeled images, as in the article's Table 1: ResNet-50, crop 513, batch 8, 80 epochs.

Example:
  KERAS_BACKEND=tensorflow rankmatch train recipes/pascal_voc.py --data VOCdevkit/VOC2012 --out runs/voc92
  rankmatch train recipes/pascal_voc.py --data VOC2012 --backbone mobilenet_v2 --weights random \\
      --crop 193 --batch 2 --steps 300 --out runs/voc-small

Expected: the article reports 71.6 mean IoU for RankMatch and 67.4 for UniMatch with the list of labeled images that
its authors chose; --seed chooses others here, and at 92 labels a few points between choices are normal. Needs a GPU
at this size; the first run downloads Keras' ImageNet weights of ResNet-50.
"""

from rankmatch_keras.cli import recipe

main = recipe(
    __doc__,
    dataset="PascalVOC",
    labels=92,
    backbone="resnet50",
    weights="imagenet",
    crop=513,
    batch=8,
    epochs=80,
    learning_rate=0.001,
)

if __name__ == "__main__":
    main()
