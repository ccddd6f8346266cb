"""Network, method and optimizer of a training run."""

from typing import Any

import keras

from rankmatch_keras import data, methods, models
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import say
from rankmatch_keras.training.catalog import names_where
from rankmatch_keras.training.optimizers import SGD, learning_rate_schedule
from rankmatch_keras.training.options import CATALOG, Options
from rankmatch_keras.training.records import read_config
from rankmatch_keras.training.run_folder import Run

DECODERS = {"deeplab": "DeepLabV3+", "segformer": "SegFormer"}


def build_segmenter(dataset: data.SegmentationData, split: data.Split, options: Options) -> models.Segmenter:
    """Build the network on the chosen backbone, for the channels and classes of the data.

    Raises:
        UserError: keras-cv's class is asked for where it is not installed, or with its fixed sizes changed; the run
            of a warm start has another network.
    """
    channels = data.image_format(split.labeled).channels
    weights = None if options.start_from else options.weights
    if options.backbone in models.BACKBONES:
        backbone = _backbone(options.backbone, weights, channels, options)
        segmenter = _network(backbone, dataset.num_classes, options)
    else:
        segmenter = _on_preset(weights, channels, dataset.num_classes, options)
    if options.start_from is not None:
        start = options.start_from
        models.start_from(segmenter, start if start.suffix == ".keras" else Run(start).last)
        say(f"Warm start from the network of {start}")
    return segmenter


def _on_preset(weights, channels, num_classes, options) -> models.Segmenter:
    """Build the network on a preset of keras-hub; `imagenet` stands for the weights that it comes with."""
    own = weights == "imagenet"
    say(f"Network: {options.backbone} of keras-hub, decoder of {DECODERS[options.decoder]}")
    return models.keras_hub.segmenter(
        options.backbone,
        num_classes,
        weights=None if own else weights,
        image_size=models.keras_hub.image_size_for(options.backbone, options.side),
        output_stride=options.output_stride,
        channels=channels,
        pretrained=own,
        decoder=options.decoder,
        **_sizes(options),
    )


def _sizes(options) -> dict[str, Any]:
    """Return the sizes of the decoder, as its function has them."""
    if options.decoder == "segformer":
        return {"filters": options.decoder_filters}
    names = ("aspp_filters", "decoder_filters", "pool_norm")
    return {name: getattr(options, name) for name in names}


def start_of(options: Options) -> dict[str, Any] | None:
    """Describe the warm start for the record: its method (or file), the id of its labeled images, and its own start.

    Raises:
        UserError: the folder holds no run.
    """
    start = options.start_from
    if start is None:
        return None
    if start.suffix == ".keras":
        return {"method": start.stem, "split": None}
    config = read_config(start)
    return {
        "method": config["options"].get("method", "unknown"),
        "split": config.get("split", {}).get("id"),
        "start": config.get("start"),
    }


def _second_segmenter(segmenter, options) -> models.Segmenter | None:
    """Build the second network of a pair on its own backbone; `None` without `second_backbone`."""
    if options.second_backbone is None:
        return None
    channels = segmenter.encoder.input_shape[-1]
    backbone = _backbone(options.second_backbone, options.second_weights, channels, options)
    backbone = models.renormalized(backbone, options.second_backbone, options.backbone)
    return _network(backbone, models.class_count(segmenter), options)


def _backbone(name, weights, channels, options):
    return models.create_backbone(name, weights, options.output_stride, channels, options.decoder == "segformer")


def _network(backbone, num_classes, options):
    if options.decoder == "segformer":
        say(f"Network: {backbone.name}, decoder of SegFormer")
        return models.segformer(backbone, num_classes, output_stride=options.output_stride, **_sizes(options))
    if _takes_keras_cv(options):
        say("Network: DeepLabV3Plus, subclass of keras-cv's")
        return models.DeepLabV3Plus(backbone, num_classes, pool_norm=options.pool_norm)
    say("Network: DeepLabV3+ of plain Keras layers")
    return models.deeplab_v3_plus(backbone, num_classes, **_sizes(options))


def _takes_keras_cv(options):
    """Whether to use keras-cv's class: where its package is in use anyway, unless the options say otherwise."""
    usual_sizes = (options.aspp_filters, options.decoder_filters) == (256, 256)
    if options.network == "auto":
        return usual_sizes and data.choose_pipeline(options.pipeline) == "tf.data"
    if options.network == "keras-cv":
        data.choose_pipeline("tf.data")  # stops where keras-cv is not installed
        if not usual_sizes:
            raise UserError(
                "256 ASPP and decoder filters for --network keras-cv",
                f"{options.aspp_filters} and {options.decoder_filters}",
                "Take --network keras.",
            )
    return options.network == "keras-cv"


def build_method(
    segmenter,
    options: Options,
    total_steps: int,
    class_weights: tuple[float, ...] | None = None,
    hierarchy: tuple[int, ...] | None = None,
) -> methods.Method:
    """Build the method.

    Args:
        segmenter: the network to train.
        options: the run's options.
        total_steps: optimizer steps of the run, for what changes during it.
        class_weights: weights of the classes in the losses; `None`: all equal.
        hierarchy: the tree of the classes, see `data.parents_of`, for methods that need one.

    Raises:
        UserError: an unknown method, or an option that it does not have.
    """
    known = methods.options_of(methods.method_named(options.method))
    own = {name: getattr(options, name) for name in names_where(CATALOG, of_method=True) if name in known}
    return methods.build(
        options.method,
        segmenter,
        given={**{name: value for name, value in own.items() if value is not None}, **options.method_options()},
        usual={
            "seed": options.seed,
            "total_steps": total_steps * options.accumulate,
            "class_weights": class_weights,
            "hierarchy": hierarchy,
        },
        second=_second_segmenter(segmenter, options),
        preset=options.preset,
    )


def build_optimizer(options: Options, steps: int, begun_with: int | None = None) -> keras.optimizers.Optimizer:
    """Build the optimizer.

    Args:
        options: the run's options.
        steps: optimizer steps of the whole run, over which the learning rate decays.
        begun_with: those that it began with, of which `warm_up` is a fraction; `steps` by default.
    """
    warm_up = round(options.warm_up * (begun_with or steps))
    learning_rate = learning_rate_schedule(options.learning_rate, steps, options.decay, warm_up)
    # Keras' optimizers take no accumulation as None.
    batches = options.accumulate if options.accumulate > 1 else None
    common: dict[str, Any] = {"gradient_accumulation_steps": batches, "global_clipnorm": options.clip}
    if options.optimizer == "adamw":
        return keras.optimizers.AdamW(learning_rate, weight_decay=options.l2, **common)
    return SGD(learning_rate, 0.9, options.l2, options.head_multiplier, **common)
