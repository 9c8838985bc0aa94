"""How far fast numerics may go by default."""

from __future__ import annotations

# Of the whole gradient of a step. Products of bfloat16 pass: 0.4 % off for a BERT, 35 % for a
# ResNet-18 with BatchNorm, whose float32 gradient is 0.5 % off itself in another order of memory
# and 140 % from that of another batch (docs/numerics.md).
TOLERANCE = 0.5
