"""A third party's PyTorch adapter with one planted mistake, chosen anew whenever a session opens.

The mistake's name stands in the file that the environment's PLANTED names, so that one process,
which has imported its framework once, can be wrong in many ways.
"""

from __future__ import annotations

from pathlib import Path

import third_party

NAME = "planted"

SOURCE = """
import os
from pathlib import Path

from paribus.backends.torch import TorchBackend


class Planted(TorchBackend):
    name = "planted"
    title = "PyTorch with a mistake"

    def open(self, network, task, **options):
        mistake = Path(os.environ["PLANTED"]).read_text().strip()
        import planted_mistakes

        rules = planted_mistakes.rules(mistake)
        session = super().open(network, task, **options)
        planted_mistakes.plant(mistake, session, rules)
        return session


backend = Planted()
"""

MISTAKES = '''
import torch
import torch.nn.functional as F
from torch import nn

from paribus.optimizers import RULES


def modules(session, kind):
    return [m for m in session._stepper.placed.module.modules() if isinstance(m, kind)]


class Padded(nn.Module):
    """A convolution with the padding of 'same'."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x):
        k, s = self.conv.kernel_size[0], self.conv.stride[0]
        sides = []
        for size in (x.shape[3], x.shape[2]):
            total = max((-(-size // s) - 1) * s + k - size, 0)
            sides += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, sides), self.conv.weight, self.conv.bias, s)


class BiasedNorm(nn.Module):
    """BatchNorm whose running variance is the biased one."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, x):
        norm = self.norm
        if not norm.training:
            return norm(x)
        axes = [axis for axis in range(x.ndim) if axis != 1]
        with torch.no_grad():
            for running, now in (
                (norm.running_mean, x.mean(axes)), (norm.running_var, x.var(axes, unbiased=False))
            ):
                running.mul_(1 - norm.momentum).add_(norm.momentum * now)
        return F.batch_norm(x, None, None, norm.weight, norm.bias, True, 0.0, norm.eps)


def rules(mistake):
    return RULES_OF.get(mistake)


def adam_epsilon(rule):
    def update(w, g, slots, c, decay, sqrt):
        return rule.update(w, g, slots, {**c, "epsilon": 1e-7}, decay, sqrt)
    return update


def keras_epsilon(rule):
    def update(w, g, slots, c, decay, sqrt):
        return rule.update(w, g, slots, {**c, "epsilon": 1e-7 / c["root2"]}, decay, sqrt)
    return update


def inside_the_root(rule):
    def update(w, g, slots, c, decay, sqrt):
        within = lambda v: sqrt(v + 1e-6 * c["root2"] * c["root2"])
        return rule.update(w, g, slots, {**c, "epsilon": 0.0}, decay, within)
    return update


def velocity(rule):
    def update(w, g, slots, c, decay, sqrt):
        if decay:
            g = g + c["weight_decay"] * w
        v = c["momentum"] * slots[0] - c["learning_rate"] * g
        return w + v, (v,)
    return update


def nesterov(rule):
    return RULES["sgd_nesterov"].update


def decoupled(rule):
    def update(w, g, slots, c, decay, sqrt):
        new, after = rule.update(w, g, slots, c, False, sqrt)
        return (new - c["learning_rate"] * c["weight_decay"] * w if decay else new), after
    return update


def coupled(rule):
    def update(w, g, slots, c, decay, sqrt):
        decayed = (1.0 - c["keep"]) / c["learning_rate"]
        return RULES["adam"].update(w, g, slots, {**c, "weight_decay": decayed}, decay, sqrt)
    return update


def late_epsilon(rule):
    """Right but for the third step."""
    calls = [0]

    def update(w, g, slots, c, decay, sqrt):
        third = abs(c["root2"] ** 2 - (1 - c["beta2"] ** 3)) < 1e-12
        c = {**c, "epsilon": 1e-3} if third else c
        return rule.update(w, g, slots, c, decay, sqrt)
    return update


RULES_OF = {
    "adam epsilon": adam_epsilon,
    "keras epsilon": keras_epsilon,
    "epsilon inside": inside_the_root,
    "velocity": velocity,
    "nesterov": nesterov,
    "decoupled": decoupled,
    "coupled": coupled,
    "late epsilon": late_epsilon,
}


def swap(session, kind, wrap, which=0):
    """Put a wrapper around the chosen layer of a kind."""
    root = session._stepper.placed.module
    found = [(n, m) for n, m in root.named_modules() if isinstance(m, kind)]
    name, module = found[which]
    parent, _, leaf = name.rpartition(".")
    root.get_submodule(parent).add_module(leaf, wrap(module))


def update_by(session, mistaken):
    """Update every tensor by a mistaken rule, as it is written."""
    flat, task = session._stepper.flat, session._task
    rule = RULES[task.rule]
    update = mistaken(rule)

    def all_of_them(scalars):
        flat.gather()
        for name, weights in flat.weights.items():
            slots = [flat.slots[slot][name] for slot in rule.slots]
            gradient, decays = flat.gradients[name], name in task.decayed
            new, after = update(weights, gradient, tuple(slots), scalars, decays, torch.sqrt)
            weights.copy_(new)
            for slot, value in zip(slots, after, strict=True):
                slot.copy_(value)

    flat.update = all_of_them


def plant(mistake, session, rule):
    if rule is not None:
        update_by(session, rule)
    elif mistake == "batch norm epsilon":
        for norm in modules(session, (nn.BatchNorm1d, nn.BatchNorm2d)):
            norm.eps = 1e-3
    elif mistake == "layer norm epsilon":
        for norm in modules(session, nn.LayerNorm):
            norm.eps = 1e-3
    elif mistake == "biased variance":
        for which in range(len(modules(session, nn.BatchNorm2d))):
            swap(session, nn.BatchNorm2d, BiasedNorm, which)
    elif mistake == "momentum share":
        for norm in modules(session, nn.BatchNorm2d):
            norm.momentum = 0.01
    elif mistake == "same padding":
        swap(session, nn.Conv2d, Padded)
    elif mistake == "dropped bias":
        last = session._stepper.placed.module.get_submodule("fc")
        last.forward = lambda x: F.linear(x, last.weight)
    elif mistake == "transposed":
        square = [m for m in modules(session, nn.Linear) if m.in_features == m.out_features][0]
        square.forward = lambda x: F.linear(x, square.weight.t(), square.bias)
    elif mistake == "gelu":
        for part in modules(session, nn.GELU):
            part.approximate = "tanh"
    elif mistake == "sum":
        losses = session._stepper.losses
        session._stepper.losses = lambda outputs, *rest: len(outputs) * losses(outputs, *rest)
    elif mistake == "not clipped":
        session._stepper.flat.clip = lambda norm, limit: None
    elif mistake == "detached":
        first = session._stepper.placed.module.get_submodule("hidden.0")
        first.register_forward_hook(lambda module, inputs, output: output.detach())
    elif mistake != "none":
        raise ValueError(mistake)
'''


def install(folder: Path) -> None:
    """Write the distribution into ``folder``, which is on the module path."""
    third_party.install(folder, "planted", NAME, source=SOURCE)
    (folder / "planted_mistakes.py").write_text(MISTAKES)
