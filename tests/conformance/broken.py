"""The adapter of PyTorch with one defect each, of those that are made in practice."""

from __future__ import annotations

from dataclasses import replace
from types import MethodType
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import nn

from paribus.adapter import Task
from paribus.backends.torch import TorchBackend
from paribus.backends.torch.engine import TorchSession


def _biased(self: Any, x: Any) -> Any:
    """BatchNorm whose running variance is the batch's, without n / (n − 1)."""
    if self.training:
        axes = (0, 2, 3)
        mean, variance = x.detach().mean(axes), x.detach().var(axes, correction=0)
        self.running_mean.mul_(0.9).add_(0.1 * mean)
        self.running_var.mul_(0.9).add_(0.1 * variance)
        return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.1, self.eps)
    return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False,
                        0.1, self.eps)  # fmt: skip


class BiasedVariance(TorchBackend):
    name = "biased"

    def model(self, network):
        found = super().model(network)
        for module in found.module.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.forward = MethodType(_biased, module)
        return found


class Forgetful(Task):
    """A task whose frozen BatchNorm is in training mode like any other."""

    def frozen_norms(self, network):
        return frozenset()


class MovingStatistics(TorchBackend):
    name = "moving"

    def open(self, network, task, **options):
        return super().open(network, Forgetful(**vars(task)), **options)


class SeesPadding(TorchBackend):
    name = "padding"

    def open(self, network, task, **options):
        session = super().open(network, task, **options)
        session.__class__ = _SeesPadding
        return session


class _SeesPadding(TorchSession):
    def train_steps(self, handle, plan):
        return super().train_steps(handle, _whole(plan))

    def gradients(self, handle, plan):
        return super().gradients(handle, _whole(plan))


def _whole(plan):
    """Return a plan in which padding rows count as real ones; their weights are 0 all the same."""
    return replace(plan, counts=np.full_like(plan.counts, plan.indices.shape[2]))


class ClipsOtherwise(TorchBackend):
    name = "clips"

    def open(self, network, task, **options):
        session = super().open(network, task, **options)
        gradient = session._stepper.flat.gradient
        # The 1e-6 is missing: a millionth off, which no training shows.
        session._stepper.flat.clip = lambda norm, limit: gradient.mul_(
            (limit / norm).clamp_(max=1.0)
        )
        return session


biased, moving = BiasedVariance(), MovingStatistics()
padding, clips = SeesPadding(), ClipsOtherwise()
