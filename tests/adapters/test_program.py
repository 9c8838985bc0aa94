"""PyTorch's recorded updates are the rules of core, and leave alone what they only read."""

from __future__ import annotations

from typing import Any

import pytest
from command import python

from paribus.optimizers import RULES

PROGRAM = """
import json
import numpy as np
import torch
from paribus.backends.torch.program import Program
from paribus.optimizers import RULES

VALUES = {"weight_decay": 0.03, "momentum": 0.8, "beta1": 0.7, "beta2": 0.9, "alpha": 0.8,
          "epsilon": 1e-3}
ROWS, NUMBERS, STEPS = 3, 40, 4
found = {}
for name, rule in RULES.items():
    for decay in (False, True):
        for columns in (False, True):
            random = np.random.default_rng(0)
            rates = 0.1 / np.arange(1.0, 1.0 + ROWS) if columns else np.full(ROWS, 0.1)
            steps = np.arange(1.0, 1.0 + STEPS)
            # Of each row, as a column where rows differ, and a number where they do not.
            own = [rule.coefficients(VALUES, np.full(STEPS, rate), steps) for rate in rates]
            program = Program(rule, decay)
            weights = torch.from_numpy(random.normal(size=(ROWS, NUMBERS)))
            slots = [torch.zeros_like(weights) for _ in rule.slots]
            spare = [torch.full_like(weights, float("nan")) for _ in range(program.spare)]
            wanted = [(weights[row].numpy().copy(), [np.zeros(NUMBERS) for _ in slots])
                      for row in range(ROWS)]
            kept = True
            for step in range(STEPS):
                gradient = torch.from_numpy(random.normal(size=(ROWS, NUMBERS)))
                before = gradient.clone()
                scalars = {key: torch.tensor([[values[key][step]] for values in own])
                           if columns else float(own[0][key][step]) for key in rule.scalars}
                program.run([weights, gradient, *slots, *spare], scalars)
                kept = kept and gradient.equal(before)
                for row in range(ROWS):
                    w, state = wanted[row]
                    c = {key: own[row][key][step] for key in rule.scalars}
                    g = before[row].numpy()
                    new, state = rule.update(w, g, tuple(state), c, decay, np.sqrt)
                    wanted[row] = new, list(state)
            apart = max(float(np.abs(mine[row].numpy() - theirs).max())
                        for row in range(ROWS)
                        for mine, theirs in zip([weights, *slots],
                                                [wanted[row][0], *wanted[row][1]]))
            found[f"{name} {decay} {columns}"] = [apart, kept, program.spare]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return python(PROGRAM, cwd=tmp_path_factory.mktemp("program"))


@pytest.mark.parametrize("name", RULES)
def test_a_recorded_update_is_the_rule(found: Any, name: str) -> None:
    for decay in (False, True):
        for columns in (False, True):
            apart, gradient_kept, spare = found[f"{name} {decay} {columns}"]
            assert apart < 1e-14
            assert gradient_kept
            # Two or three tensors serve for all that lies between.
            assert spare <= 3
