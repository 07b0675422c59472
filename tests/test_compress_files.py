"""Reading says what is wrong; writing never destroys what was there."""

import errno
import os
import zipfile

import keras
import numpy as np
import pytest

from tfcompress import files
from tfcompress.errors import InvalidInputError


@pytest.fixture
def model_path(tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def test_files_are_written_whole(tmp_path):
    files.write_files(tmp_path / "new", {"a.txt": "text", "b.bin": b"\x00\x01"})
    assert (tmp_path / "new/a.txt").read_text() == "text"
    assert (tmp_path / "new/b.bin").read_bytes() == b"\x00\x01"
    assert sorted(os.listdir(tmp_path / "new")) == ["a.txt", "b.bin"]
    assert (tmp_path / "new/a.txt").stat().st_mode & 0o444


def test_a_full_disk_leaves_every_old_file(tmp_path, monkeypatch):
    files.write_files(tmp_path, {"a": "old a", "b": "old b"})
    calls = []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(InvalidInputError, match=r"writable folder with free space.*No space left"):
        files.write_files(tmp_path, {"a": "new a", "b": "new b"})
    assert (tmp_path / "a").read_text() == "old a"
    assert (tmp_path / "b").read_text() == "old b"
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_folder_in_the_place_of_a_file(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a").write_text("old a")
    with pytest.raises(InvalidInputError, match="Is a directory"):
        files.write_files(tmp_path, {"a": "new a", "b": "new b"})
    assert (tmp_path / "a").read_text() == "old a"


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="must be a writable folder"):
        files.check_folder(tmp_path / "file" / "out", 1)
    with pytest.raises(InvalidInputError, match="must be a writable folder"):
        files.write_file(tmp_path / "file" / "x", b"")


def test_a_disk_that_is_too_full(tmp_path):
    with pytest.raises(InvalidInputError, match=f"{2**62} bytes free"):
        files.check_folder(tmp_path, 2**62)
    assert files.check_folder(tmp_path / "made", 1).is_dir()
    assert os.listdir(tmp_path / "made") == []


def test_a_good_model_loads(model_path):
    assert files.load_model(model_path).input_shape == (None, 3)


def test_an_h5_model_loads_through_keras_3(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    keras.saving.save_model(model, tmp_path / "model.h5")
    assert files.load_model(tmp_path / "model.h5").input_shape == (None, 3)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_lambda_is_refused_unless_trusted(tmp_path, suffix):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x + 1), keras.layers.Dense(2)])
    path = tmp_path / f"lambda.{suffix}"
    keras.saving.save_model(model, path)
    with pytest.raises(InvalidInputError, match=r"must not hold code to run.*--unsafe"):
        files.load_model(path)
    assert len(files.load_model(path, unsafe=True).layers) == 2


def test_models_that_are_none(tmp_path, model_path):
    with pytest.raises(InvalidInputError, match="must be an existing file"):
        files.load_model(tmp_path / "none.keras")
    (tmp_path / "model.pt").write_text("x")
    with pytest.raises(InvalidInputError, match=r"must be a \.keras or \.h5 file"):
        files.load_model(tmp_path / "model.pt")
    for name in ("text.keras", "text.h5"):
        (tmp_path / name).write_text("no model")
        with pytest.raises(InvalidInputError, match="must be an undamaged"):
            files.load_model(tmp_path / name)


def test_a_truncated_model(model_path):
    model_path.write_bytes(model_path.read_bytes()[:-100])
    with pytest.raises(InvalidInputError, match="must be an undamaged"):
        files.load_model(model_path)


def test_a_model_of_an_unknown_class(model_path):
    with zipfile.ZipFile(model_path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["config.json"] = parts["config.json"].replace(b'"Dense"', b'"Denser"')
    with zipfile.ZipFile(model_path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(InvalidInputError, match="every class of the model must be known"):
        files.load_model(model_path)


def test_a_good_npz(tmp_path):
    np.savez(tmp_path / "d.npz", x_train=np.zeros(3), y_train=np.ones(3), x_test=np.zeros(1), y_test=np.ones(1))
    assert files.load_npz(tmp_path / "d.npz")["y_train"].sum() == 3


def test_npz_files_that_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"must be an existing \.npz"):
        files.load_npz(tmp_path / "none.npz")
    np.savez(tmp_path / "d.npz", x_train=np.zeros(3), labels=np.zeros(3))
    with pytest.raises(InvalidInputError, match=r"x_train, labels.*Add y_train, x_test, y_test"):
        files.load_npz(tmp_path / "d.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    os.rename(tmp_path / "one.npy", tmp_path / "one.npz")
    (tmp_path / "text.npz").write_text("text")
    whole = (tmp_path / "d.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    for name in ("one.npz", "text.npz", "half.npz"):
        with pytest.raises(InvalidInputError, match="undamaged"):
            files.load_npz(tmp_path / name)


def test_an_npz_of_pickles_is_not_unpickled(tmp_path):
    objects = np.array([{}, {}], dtype=object)
    np.savez(tmp_path / "d.npz", x_train=objects, y_train=objects, x_test=objects, y_test=objects)
    with pytest.raises(InvalidInputError, match="plain arrays"):
        files.load_npz(tmp_path / "d.npz")


def test_tflite_files_that_are_none(tmp_path):
    with pytest.raises(InvalidInputError, match="readable"):
        files.read_tflite(tmp_path / "none.tflite")
    (tmp_path / "text.tflite").write_text("hello, world")
    with pytest.raises(InvalidInputError, match="identifier b'o, w'"):
        files.read_tflite(tmp_path / "text.tflite")
