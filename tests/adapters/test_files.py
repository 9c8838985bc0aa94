"""PyTorch's files of weights: tensors come in, code does not, and what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command import Runner, python, refused
from experiments import small
from labs import Pool

from paribus import weights
from paribus.errors import WeightsError

# Writes each file; the hostile ones would make a file called `ran` beside them.
WRITE = """
import json, os, pickle, sys
from pathlib import Path
import torch

folder = Path(sys.argv[1])

class Hostile:
    def __reduce__(self):
        return os.system, (f"touch {folder / 'ran'}",)

one = torch.tensor([[1.5, -2.0], [0.25, 3.0]])
state = {"fc.weight": one, "fc.bias": one[0], "bn.num_batches_tracked": torch.tensor(7)}
older = {"_use_new_zipfile_serialization": False}
torch.save(state, folder / "state.pth")
torch.save(state, folder / "older.pt", **older)
torch.save({"epoch": 3, "optimizer": {"lr": 0.1}, "state_dict": state}, folder / "nested.pth")
torch.save({name: t.bfloat16() for name, t in state.items()}, folder / "bfloat16.pth")
torch.save(one.T, folder / "tensor.pth")
torch.save({"fc.weight": Hostile()}, folder / "hostile.pth")
torch.save({"fc.weight": Hostile()}, folder / "older hostile.pth", **older)
(folder / "raw hostile.pth").write_bytes(pickle.dumps(Hostile()))
torch.save(torch.nn.Linear(2, 2), folder / "module.pth")
torch.save({"fc.weight": one, "epoch": 3}, folder / "mixed.pth")
torch.save({}, folder / "nothing.pth")
torch.save({"fc.weight": torch.ones(2, dtype=torch.complex64)}, folder / "complex.pth")
torch.save({"fc.weight": one.to_sparse()}, folder / "sparse.pth")
torch.save({"fc.weight": torch.ones(1).expand(10**12)}, folder / "bomb.pth")
torch.save({"fc.weight": torch.ones(2, device="meta")}, folder / "meta.pth")
torch.save({"hidden.0.weight": torch.full((6, 64), 0.5), "hidden.0.bias": torch.zeros(6),
            "fc.weight": torch.ones(9, 6), "fc.bias": torch.ones(9),
            "bn.num_batches_tracked": torch.tensor(7)}, folder / "mlp.pth")
(folder / "junk.pth").write_bytes(b"junk" * 64)
(folder / "empty.pth").write_bytes(b"")
(folder / "half.pth").write_bytes((folder / "state.pth").read_bytes()[:500])
print(json.dumps(len(list(folder.iterdir()))))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    assert python(WRITE, folder, cwd=folder) == 19
    return folder


@pytest.mark.parametrize("name", ["state.pth", "older.pt", "nested.pth", "bfloat16.pth"])
@pytest.mark.parametrize("backend", ["torch", "huggingface"])
def test_state_dicts_are_read(pool: Pool, files: Path, backend: str, name: str) -> None:
    found = pool.backend(backend).read_tensors(files / name)
    assert found["fc.weight"].dtype == np.float32
    assert found["fc.weight"].tolist() == [[1.5, -2.0], [0.25, 3.0]]
    assert found["fc.bias"].tolist() == [1.5, -2.0]


HOSTILE = {
    "hostile.pth": "asks for posix.system",
    "older hostile.pth": "asks for posix.system",
    "raw hostile.pth": "asks for posix.system",
}
WRONG = HOSTILE | {
    "module.pth": "asks for torch.nn.modules.linear.Linear",
    "tensor.pth": "holds a Tensor, not a state dict",
    "mixed.pth": "entries that are not tensors: epoch (int)",
    "nothing.pth": "holds no tensors",
    "complex.pth": "fc.weight is a tensor of torch.complex64",
    "sparse.pth": "layout torch.sparse_coo",
    "bomb.pth": "claim 4,000,000,000,000 bytes",
    "meta.pth": "fc.weight has no values",
    "junk.pth": "is not a readable PyTorch state dict",
    "empty.pth": "is not a readable PyTorch state dict",
    "half.pth": "is not a readable PyTorch state dict",
}


@pytest.mark.parametrize(("name", "words"), WRONG.items(), ids=WRONG)
def test_anything_else_is_refused_and_nothing_is_executed(
    pool: Pool, files: Path, name: str, words: str
) -> None:
    with pytest.raises(WeightsError) as refusal:
        pool.backend("torch").read_tensors(files / name)
    assert words in str(refusal.value)
    assert str(files / name) in str(refusal.value)
    # PyTorch's own message advises to read the file with weights_only=False.
    assert "weights_only=False" not in str(refusal.value)
    assert not (files / "ran").exists()


def test_integers_are_no_weights(tmp_path: Path) -> None:
    file = tmp_path / "integers.safetensors"
    weights.save(file, {"fc.weight": np.ones(2, np.int32)}, {})
    with pytest.raises(WeightsError, match=r"not all are: fc\.weight \(int32\)"):
        weights.load(file)


def test_a_run_from_a_hostile_file_ends_before_it_begins(run: Runner, files: Path) -> None:
    failed = run.attempt(small(finetune={"weights": str(files / "hostile.pth")}))
    refused(failed.done, 2, "hostile.pth is refused", "nothing of it was executed")
    assert not failed.folder.exists()
    assert not (files / "ran").exists()


def test_a_run_starts_from_a_state_dict(run: Runner, files: Path) -> None:
    """Its counters are left out; another network's tensors are listed."""
    file = str(files / "mlp.pth")
    done = run(small(finetune__weights=file, finetune__freeze="body"))
    assert done.tensors()["hidden.0.weight"].tolist() == [[0.5] * 64] * 6
    other = {"architecture": "mlp", "hidden": [7]}
    wrong = run.attempt(small(finetune__weights=file, model=other), out="no")
    refused(wrong.done, 2, "misshapen 2: hidden.0.weight: (6, 64) instead of (7, 64)")
