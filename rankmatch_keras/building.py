"""The network, the method and the optimizer that a recipe's flags name."""

from typing import Any

from rankmatch_keras import data, methods, models, training
from rankmatch_keras.errors import UserError
from rankmatch_keras.options import METHOD_FLAGS, Options
from rankmatch_keras.training.runs import Run, read_config


def build_segmenter(dataset: data.SegmentationData, split: data.Split, options: Options) -> models.Segmenter:
    """Makes DeepLabV3+ on the backbone that the flags name, for the channels and classes of the data.

    Raises:
        UserError: keras-cv's class is asked for where it is not installed, or with its fixed sizes changed; the run to
            start from has another network.
    """
    channels = data.image_format(split.labeled).channels
    weights = None if options.start_from else options.weights
    backbone = models.create_backbone(options.backbone, weights, options.output_stride, channels)
    segmenter = _network(backbone, dataset.num_classes, options)
    if options.start_from is not None:
        start = options.start_from
        models.start_from(segmenter, start if start.suffix == ".keras" else Run(start).last)
        print(f"Begins with the network of {start}")
    return segmenter


def start_of(options: Options) -> dict[str, Any] | None:
    """What the record says of the run to start from: its method (or file), id of its labelled images, and own start.

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
        "method": config["options"]["method"],
        "split": config.get("split", {}).get("id"),
        "start": config.get("start"),
    }


def build_second(segmenter, options: Options) -> models.Segmenter | None:
    """Makes the second network of a pair on the backbone that its flags name; `None` without them."""
    if options.second_backbone is None:
        return None
    channels = segmenter.encoder.input_shape[-1]
    backbone = models.create_backbone(options.second_backbone, options.second_weights, options.output_stride, channels)
    backbone = models.renormalized(backbone, options.second_backbone, options.backbone)
    return _network(backbone, models.class_count(segmenter), options)


def _network(backbone, num_classes, options):
    if _takes_keras_cv(options):
        print("Network: DeepLabV3Plus, subclass of keras-cv's")
        return models.DeepLabV3Plus(backbone, num_classes, pool_norm=options.pool_norm)
    print("Network: DeepLabV3+ of plain Keras layers")
    return models.deeplab_v3_plus(
        backbone,
        num_classes,
        aspp_filters=options.aspp_filters,
        decoder_filters=options.decoder_filters,
        pool_norm=options.pool_norm,
    )


def _takes_keras_cv(options):
    """Whether the network is keras-cv's class: where its package is in use anyway, unless the flags say otherwise."""
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


def build_method(segmenter, options: Options, total_steps: int) -> methods.Method:
    """Makes the method that the flags name.

    Args:
        segmenter: the network that is trained.
        options: the run's options.
        total_steps: optimizer steps of the run, for what changes during it.

    Raises:
        UserError: an unknown method, or an option that it does not have.
    """
    known = methods.options_of(methods.method_named(options.method)) & {*METHOD_FLAGS}
    flags = {name: getattr(options, name) for name in known if getattr(options, name) is not None}
    return methods.build(
        options.method,
        segmenter,
        given={**flags, **options.set_options()},
        usual={"seed": options.seed, "total_steps": total_steps * options.accumulate},
        second=build_second(segmenter, options),
        preset=options.preset,
    )


def build_optimizer(options: Options, steps: int) -> training.SGD:
    """The papers' optimizer with its schedule over `steps` optimizer steps."""
    learning_rate = training.polynomial_decay(options.learning_rate, steps)
    return training.SGD(
        learning_rate,
        0.9,
        options.l2,
        options.head_multiplier,
        gradient_accumulation_steps=options.several_batches,
    )
