"""Files of many predictions: the slices of a volume as one file, the frames of a video as one video.

They are made of the masks of single images when all are done, one image in memory at a time.
"""

import gzip

import numpy as np

from rankmatch_keras import IGNORE_INDEX, evaluation
from rankmatch_keras.data.masks.mask_files import MaskFile
from rankmatch_keras.data.readers.folders import ending_of, natural_order
from rankmatch_keras.data.readers.images import image_info
from rankmatch_keras.data.readers.nifti import NIFTI_ENDINGS, mask_header
from rankmatch_keras.data.readers.slices import volume_of
from rankmatch_keras.data.readers.videos import Frame, frames_per_second
from rankmatch_keras.errors import UserError
from rankmatch_keras.files import replacing
from rankmatch_keras.prediction.outputs import save_mask_tiff

QUALITY = 8.0  # of 0 to 10


def volumes(samples):
    """Return the slices of each volume, or the frames of each video, in their order: a list by the volume's name.

    Raises:
        UserError: two volumes have one name.
    """
    by_name = {sample.name: sample for sample in samples}
    found: dict[str, list] = {}
    for name in natural_order(by_name):
        volume = volume_of(by_name[name].image)
        # A slice is named after its volume; the files at the top of a folder are not.
        members = found.setdefault(name.rpartition("/")[0] or volume.name or "images", [])
        members.append(by_name[name])
        if volume_of(members[0].image) != volume:
            raise UserError("volumes of different names", f"{volume_of(members[0].image)} and {volume}", "Rename one.")
    return found


def require_one_size(samples):
    """Check by their headers that the slices of each volume have one size, before anything is predicted.

    Raises:
        UserError: they have not.
    """
    for members in volumes(samples).values():
        slices = [one for one in members if not isinstance(one.image, Frame)]
        sizes = {image_info(one.image.path, one.image.page)[:2]: one for one in slices}
        if len(sizes) > 1:
            ((height, width), one), ((other_height, other_width), other), *_ = sizes.items()
            raise UserError(
                "slices of one size for --save stack",
                f"{width} x {height} pixels in '{one.image}', {other_width} x {other_height} in '{other.image}'",
                "Put each volume into a folder of its own, or leave stack out.",
            )


def save_stack(path, samples, masks, size):
    """Write the masks of a volume as one file: that of a NIfTI volume is one in its place, any other a TIFF stack.

    Args:
        path: the file, without ending.
        samples: the slices.
        masks: files of their masks by name; a slice that was left out is 255.
        size: height and width.
    """
    pages, volume = _classes(samples, masks, size), volume_of(samples[0].image)
    if ending_of(volume) in NIFTI_ENDINGS:
        _save_nifti(path.with_name(f"{path.name}.nii.gz"), pages, mask_header(volume))
    else:
        file = path.with_name(f"{path.name}.tif")
        save_mask_tiff(file, pages, shape=(len(samples), *size), dtype=np.uint8)


def _save_nifti(path, slices, header):
    with replacing(path) as temporary, open(temporary, "wb") as file:
        with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
            packed.write(header)
            for one in slices:
                packed.write(one.tobytes())


def save_video(path, samples, masks, size, style):
    """Write the overlays of a video as a video (H.264 in MP4) of the same rate, without sound.

    Args:
        path: the file.
        samples: the frames.
        masks: files of their masks by name; a frame that was left out is shown pale.
        size: height and width.
        style: of the overlays.
    """
    import imageio_ffmpeg

    height, width = (side + side % 2 for side in size)  # H.264 has even sides
    rate = frames_per_second(samples[0].image.path)
    with replacing(path) as temporary:
        writer = imageio_ffmpeg.write_frames(
            temporary, (width, height), fps=rate, quality=QUALITY, macro_block_size=1, ffmpeg_log_level="error"
        )
        writer.send(None)
        try:
            for sample, classes in zip(samples, _classes(samples, masks, size), strict=True):
                shown = evaluation.overlay(sample.read_image(), classes, style=style)
                padding = (0, height - size[0]), (0, width - size[1]), (0, 0)
                writer.send(np.ascontiguousarray(np.pad(shown, padding, mode="edge")))
        finally:
            writer.close()


def _classes(samples, masks, size):
    for sample in samples:
        if sample.name in masks:
            yield MaskFile(masks[sample.name]).read().astype(np.uint8)
        else:
            yield np.full(size, IGNORE_INDEX, np.uint8)
