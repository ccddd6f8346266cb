"""`rankmatch predict` and `rankmatch evaluate` on volumes and videos."""

import gc
import importlib.util
import json

import keras
import numpy as np
import pytest
import tifffile
from PIL import Image

from rankmatch_keras.data.readers import videos
from rankmatch_keras.data.readers.videos import Frame, count_frames, frames_per_second
from rankmatch_keras.models import load_predictor
from rankmatch_keras.models.predictor import NeighboringSlices, context_of

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run of a network of context 1: a pixel is class 1 where the slice above is brighter than the slice below."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    folder.mkdir()
    image = keras.Input((None, None, 3))
    convolution = keras.layers.Conv2D(2, 1, use_bias=False)
    output = keras.layers.Softmax()(convolution(NeighboringSlices(3)(image)))
    convolution.set_weights([np.array([[[[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]]])])
    keras.Model(image, output).save(folder / "last.keras")
    record = {"options": {"keep": "last"}, "data": {"loader": None, "classes": ["down", "up"]}}
    (folder / "config.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def volume(tmp_path):
    """Five random slices, of even values: no two are equal."""
    values = 2 * np.random.default_rng(0).permuted(np.arange(5 * 6 * 8) % 127).reshape(5, 6, 8).astype(np.uint8)
    values[:, 0] = np.array([10, 20, 30, 20, 10])[:, None]
    tifffile.imwrite(tmp_path / "volume.tif", values, photometric="minisblack")
    return values


def classes_of(values):
    """Compare each slice's neighbors; equal ones are class 0."""
    above, below = np.concatenate([values[1:], values[-1:]]), np.concatenate([values[:1], values[:-1]])
    return (above > below).astype(np.uint8)


def test_a_network_of_slices_reads_their_neighbors(run_folder, volume, tmp_path, rankmatch):
    code, _, err = rankmatch("predict", run_folder, "--images", tmp_path / "volume.tif", "--out", tmp_path / "seen")
    assert code == 0, err
    expected = classes_of(volume)
    assert expected[:, 0, 0].tolist() == [1, 1, 0, 0, 0]
    for number, classes in enumerate(expected):
        with Image.open(tmp_path / f"seen/masks/volume/{number:04d}.png") as mask:
            np.testing.assert_array_equal(np.asarray(mask), classes)

    tifffile.imwrite(tmp_path / "masks.tif", np.where(np.arange(5)[:, None, None] == 1, 255, expected))
    where = ("--images", tmp_path / "volume.tif", "--masks", tmp_path / "masks.tif", "--out", tmp_path / "scores")
    code, said, err = rankmatch("evaluate", run_folder, *where)
    assert code == 0, err
    assert "4 labeled slices, and 1 beside them that count as unlabeled." in said
    scores = json.loads((tmp_path / "scores/evaluation-volume.tif-last.json").read_text())
    assert scores["mean_iou"] == 1 and scores["images"] == 4


def test_slices_are_written_as_one_stack(run_folder, volume, tmp_path, rankmatch):
    command = ("predict", run_folder, "--save", "stack,table", "--out", tmp_path / "seen", "--images")
    assert rankmatch(*command, tmp_path / "volume.tif")[0] == 0
    found = tifffile.imread(tmp_path / "seen/stack/volume.tif")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, classes_of(volume))
    assert not (tmp_path / "seen/masks").exists()


def test_a_nifti_volume_is_segmented_in_its_place(run_folder, volume, tmp_path, rankmatch):
    nibabel = pytest.importorskip("nibabel")
    affine = np.array([[-0.5, 0, 0, 10], [0, 0.25, 0.1, -20], [0, -0.1, 3, 30], [0, 0, 0, 1]])
    scan = nibabel.Nifti1Image(volume.T, affine)
    scan.header["descrip"] = b"Jane Doe"
    scan.header.set_xyzt_units("mm")
    nibabel.save(scan, tmp_path / "scan.nii.gz")
    nibabel.save(nibabel.Nifti2Image(volume.T, affine), tmp_path / "second.nii")
    for name in ("scan.nii.gz", "second.nii"):
        command = ("predict", run_folder, "--save", "stack,masks", "--out", tmp_path / name[:4], "--images")
        code, _, err = rankmatch(*command, tmp_path / name)
        assert code == 0, err
        masks = tmp_path / name[:4] / f"stack/{name.partition('.')[0]}.nii.gz"
        found = nibabel.load(masks)
        assert found.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(np.asarray(found.dataobj), classes_of(volume).T)
        np.testing.assert_allclose(found.affine, affine, rtol=1e-6)
        np.testing.assert_allclose(found.header.get_zooms(), nibabel.load(tmp_path / name).header.get_zooms())
        assert not list(masks.parent.glob(".*"))
        assert b"Jane" not in found.header.binaryblock
        where = ("--images", tmp_path / name, "--masks", masks, "--out", tmp_path / f"scores-{name}")
        code, said, err = rankmatch("evaluate", run_folder, *where)
        assert code == 0, err
        assert "mIoU 1" in said or "100" in said
    assert found.header["sizeof_hdr"] == 540


def test_a_slice_that_is_left_out_is_ignored_in_the_stack(run_folder, volume, tmp_path, rankmatch):
    (tmp_path / "slices").mkdir()
    for number in range(3):
        Image.fromarray(volume[number]).save(tmp_path / f"slices/s{number}.png")
    (tmp_path / "slices/s4.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    command = ("predict", run_folder, "--save", "stack", "--images", tmp_path / "slices", "--out", tmp_path / "seen")
    code, _, err = rankmatch(*command)
    assert code == 2 and len(err.splitlines()) == 1 and not (tmp_path / "seen").exists()
    assert rankmatch(*command, "--skip-bad")[0] == 0
    found = tifffile.imread(tmp_path / "seen/stack/slices.tif")
    np.testing.assert_array_equal(found[:2], classes_of(volume[:3])[:2])
    assert (found[2:] == 255).all() and len(found) == 4  # the last neighbor of s2 cannot be read either


def test_slices_of_two_sizes_are_found_before_the_work(run_folder, tmp_path, rankmatch):
    (tmp_path / "slices").mkdir()
    for number in (1, 2):
        Image.new("L", (8, 6 + number)).save(tmp_path / f"slices/{number}.png")
    command = ("predict", run_folder, "--save", "stack", "--images", tmp_path / "slices", "--out", tmp_path / "seen")
    code, _, err = rankmatch(*command)
    assert code == 2 and "8 x 7 pixels in" in err and not (tmp_path / "seen").exists()


@pytest.fixture(scope="module")
def red_or_blue(tmp_path_factory):
    """A network whose class is 1 where blue is above red."""
    image = keras.Input((None, None, 3))
    convolution = keras.layers.Conv2D(2, 1, use_bias=False)
    model = keras.Model(image, keras.layers.Softmax()(convolution(image)))
    convolution.set_weights([np.array([[[[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]]])])
    path = tmp_path_factory.mktemp("models") / "colors.keras"
    model.save(path)
    return path


@pytest.fixture
def closed_pipes():
    """Collects the pipes to ffmpeg, which imageio-ffmpeg leaves open, within the test."""
    yield
    videos._video.cache_clear()
    gc.collect()


# Said of those pipes.
with_pipes = pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


def write_video(path, frames, rate=10):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    size = frames[0].shape[1::-1]
    writer = imageio_ffmpeg.write_frames(path, size, fps=rate, macro_block_size=1, ffmpeg_log_level="error")
    writer.send(None)
    for frame in frames:
        writer.send(frame)
    writer.close()


@with_pipes
def test_a_video_is_segmented_frame_by_frame(red_or_blue, closed_pipes, tmp_path, rankmatch):
    frames = np.zeros((5, 48, 66, 3), np.uint8)
    for number, frame in enumerate(frames):
        frame[..., 0] = 200
        frame[:, : 8 * (number + 1)] = (0, 0, 200)  # blue, up to an edge between two blocks of the codec
    write_video(tmp_path / "clip.mp4", frames)
    out = tmp_path / "seen"
    command = ("predict", red_or_blue, "--images", tmp_path / "clip.mp4", "--out", out, "--save")
    code, said, err = rankmatch(*command, "masks,overlays,stack")
    assert code == 0, err
    assert "5 images" in said
    expected = np.stack([np.arange(66)[None].repeat(48, 0) < 8 * (number + 1) for number in range(5)])
    found = tifffile.imread(out / "stack/clip.tif")
    assert (found != expected).mean() < 0.01
    with Image.open(out / "masks/clip/000003.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask), found[3])
    assert count_frames(out / "overlays/clip.mp4") == 5 and frames_per_second(out / "overlays/clip.mp4") == 10
    shown = Frame(out / "overlays/clip.mp4", 4).read().astype(int)
    assert shown.shape == (48, 66, 3)
    assert (shown[20, 60] - (200, 0, 0)).__abs__().max() < 40  # the background stays as it was


@with_pipes
def test_what_is_no_video_is_one_line(red_or_blue, closed_pipes, tmp_path, rankmatch, monkeypatch):
    write_video(tmp_path / "clip.mp4", np.zeros((3, 32, 32, 3), np.uint8))
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "clip.mp4").read_bytes()[:700])
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:10,\nhttp://localhost/secret.ts\n")
    for name, found in (("cut", "which ffmpeg cannot decode"), ("list", "Expected a video (MP4, MOV")):
        code, _, err = rankmatch("predict", red_or_blue, "--images", tmp_path / f"{name}.mp4", "--out", tmp_path / name)
        assert code == 2 and found in err and len(err.splitlines()) == 1
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "imageio" in name else find_spec(name))
    code, _, err = rankmatch("predict", red_or_blue, "--images", tmp_path / "clip.mp4", "--out", tmp_path / "seen")
    assert code == 2 and "pip install 'rankmatch-keras[video]'" in err


def test_the_file_records_the_context(run_folder, tmp_path):
    assert context_of(load_predictor(run_folder / "last.keras")) == 1
    with pytest.raises(ValueError, match="Received: 4"):
        NeighboringSlices(4)
