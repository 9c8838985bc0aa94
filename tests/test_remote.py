"""A backend in another process behaves as one in this process, also when it fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import cases
import numpy as np
import pytest
import third_party
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from paribus import channel
from paribus.errors import BackendError, BackendMissing, DataError, DeviceMissing, Unsupported
from paribus.plan import Augmentation
from paribus.remote import RemoteBackend, RemoteSession

DTYPES = ("?", "u1", "i1", "<i4", "<i8", "<u8", "<f2", "<f4", "<f8", ">f8", ">i4")


@pytest.fixture
def echo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RemoteBackend]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    third_party.install(tmp_path, "echo-backend", "echo")
    with RemoteBackend("echo") as backend:
        yield backend


def _open(echo: RemoteBackend) -> RemoteSession:
    return echo.open(
        cases.MLP, cases.task(cases.MLP), device="cpu", precision="float32", numerics="strict"
    )


@given(
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0))
    ),
    st.floats(),
    st.text(),
)
def test_a_frame_carries_every_bit(array: cases.Array, number: float, text: str) -> None:
    stream = BytesIO()
    sent = {"list": [array, {"number": number, "text": text}], "strided": array.T, "none": None}
    channel.send(stream, sent)
    stream.seek(0)
    back = channel.receive(stream)
    for name, given_array in (("first", array), ("strided", array.T)):
        received = back["list"][0] if name == "first" else back["strided"]
        assert received.shape == given_array.shape
        assert received.dtype == given_array.dtype.newbyteorder("<")
        assert received.tobytes() == given_array.astype(received.dtype).tobytes()
        assert received.flags.writeable
    assert np.array_equal(back["list"][1]["number"], number, equal_nan=True)
    assert back["list"][1]["text"] == text
    assert back["none"] is None


def test_objects_do_not_cross() -> None:
    with pytest.raises(DataError, match="object"):
        channel.send(BytesIO(), np.array([{}, None], dtype=object))


def test_what_is_not_a_frame_is_refused() -> None:
    with pytest.raises(BackendError, match="expected a frame"):
        channel.receive(BytesIO(b"INFO: loading kernels\n"))


def test_a_truncated_frame_is_a_closed_channel() -> None:
    stream = BytesIO()
    channel.send(stream, np.arange(100))
    for size in (3, 20, len(stream.getvalue()) - 1):
        with pytest.raises(channel.Closed):
            channel.receive(BytesIO(stream.getvalue()[:size]))


def test_everything_of_a_plan_crosses(echo: RemoteBackend) -> None:
    session = _open(echo)
    x = cases.images(5, 4, 3, 2)
    handle = session.put(x, np.arange(5))
    rows = cases.batches(3, 2, 2, 5)
    drawn = Augmentation(-rows, rows, rows > 2, rows > 3)
    plan = cases.train_plan(rows, augmentation=drawn)
    loss, tensors = session.gradients(handle, plan)
    assert loss == 0.1
    assert np.array_equal(tensors["top"], -rows)
    assert np.array_equal(tensors["flip"], rows > 2)
    assert np.array_equal(session.predict(handle, cases.eval_plan(5, 2)), x)
    sums = session.evaluate(handle, cases.eval_plan(5, 2))
    assert np.isnan(sums.loss)
    assert sums[1:] == (5, 5)
    first, second = (session.train_steps(handle, plan) for _ in range(2))
    assert second.result().losses == pytest.approx([1.0] * 3)
    assert first.result().gradient_norms is None
    assert session.compile_seconds == 1.0
    assert session.remarks == ("echo is slow",)


def test_prints_do_not_disturb_the_channel(echo: RemoteBackend) -> None:
    session = _open(echo)
    given_tensors = cases.tensors(cases.MLP)
    session.import_weights(given_tensors)
    back = session.export_weights()
    assert list(back) == list(given_tensors)
    session.import_optimizer({"momentum": back})
    assert list(session.export_optimizer()["momentum"]) == list(back)


def test_our_errors_arrive_as_themselves(echo: RemoteBackend) -> None:
    with pytest.raises(DeviceMissing, match="no device 'cuda' here"):
        echo.open(
            cases.MLP, cases.task(cases.MLP), device="cuda", precision="float32", numerics="fast"
        )
    assert echo.devices() == ["cpu"]


def test_an_adapter_s_defect_is_reported_with_its_traceback(echo: RemoteBackend) -> None:
    session = _open(echo)
    handle = session.put(np.zeros((2, 6)), None)
    with pytest.raises(BackendError, match="'echo' failed in forward: ZeroDivisionError") as failed:
        session.forward(handle, cases.eval_plan(2, 2), training=False)
    assert "an adapter's own defect" in failed.value.__notes__[0]
    assert echo.devices() == ["cpu"]


def test_a_crash_is_reported_with_the_last_words(echo: RemoteBackend) -> None:
    with _open(echo) as session:
        handle = session.put(np.zeros((2, 6)), None)
        with pytest.raises(BackendError, match="something terrible") as died:
            session.forward(handle, cases.eval_plan(2, 2), training=True)
        assert "'echo' ended with code -6 during forward" in str(died.value)
        with pytest.raises(BackendError, match="is closed"):
            session.export_weights()


def test_a_native_object_stays_where_it_is(echo: RemoteBackend, tmp_path: Path) -> None:
    session = _open(echo)
    with pytest.raises(Unsupported, match="save_native"):
        session.native()
    assert session.save_native(tmp_path / "saved").is_dir()


def test_a_closed_session_is_refused_and_the_backend_goes_on(echo: RemoteBackend) -> None:
    session = _open(echo)
    session.close()
    session.close()
    with pytest.raises(BackendError, match="session is closed"):
        session.export_weights()
    with _open(echo) as other:
        other.put(np.zeros((1, 6)), None)


def test_closing_ends_the_child(echo: RemoteBackend) -> None:
    child = echo.process_id
    os.kill(child, 0)
    echo.close()
    echo.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    with pytest.raises(BackendError, match="closed"):
        echo.devices()


def test_a_missing_framework_is_refused_before_a_process_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    third_party.install(tmp_path, "echo-backend", "echo", reason="not there")
    with pytest.raises(BackendMissing, match="pip install echo"):
        RemoteBackend("echo")


def test_threads_are_limited_before_the_framework_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    source = third_party.ECHO.replace('"NAME"', '"echo"').replace("REASON", "None")
    source = source.replace('return ["cpu"]', 'return [os.environ["OMP_NUM_THREADS"]]')
    third_party.install(tmp_path, "echo-backend", "echo", source=source)
    with RemoteBackend("echo", threads=3) as backend:
        assert backend.devices() == ["3"]
