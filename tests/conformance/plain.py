"""An adapter in NumPy that knows multilayer perceptrons: what a third party might begin with.

It shares no line with the adapters that wrote the golden tensors, so that its conformance also
judges those: forward, backward and update are written from the definitions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from paribus import weights
from paribus.adapter import Backend, Capabilities, Session
from paribus.architectures import INPUT
from paribus.errors import DataError, DeviceMissing, WeightsError
from paribus.optimizers import RULES
from paribus.plan import StepResults, Sums


class Done:
    def __init__(self, results):
        self._results = results

    def result(self):
        return self._results


class PlainSession(Session):
    def __init__(self, network, task, precision):
        self._network, self._task, self._rule = network, task, RULES[task.rule]
        self._dtype = np.dtype(precision)

    def import_weights(self, tensors):
        weights.check(tensors, weights.shapes(self._network))
        self._w = {n: np.array(tensors[n], dtype=self._dtype) for n in self._network.tensors}
        zeros = {n: np.zeros_like(self._w[n]) for n in self._task.trainable}
        self._slots = {slot: dict(zeros) for slot in self._rule.slots}

    def export_weights(self):
        return {name: array.copy() for name, array in self._w.items()}

    def import_optimizer(self, slots):
        if set(slots) != set(self._rule.slots):
            raise WeightsError(f"slots {sorted(slots)} instead of {sorted(self._rule.slots)}")
        for slot in slots:
            shapes = {name: self._w[name].shape for name in self._task.trainable}
            weights.check(slots[slot], shapes, f"slot {slot}")
        self._slots = {
            slot: {n: np.array(slots[slot][n], self._dtype) for n in self._task.trainable}
            for slot in self._rule.slots
        }

    def export_optimizer(self):
        return {s: {n: a.copy() for n, a in own.items()} for s, own in self._slots.items()}

    def put(self, x, y):
        return x, y

    def train_steps(self, handle, plan):
        losses, norms = [], []
        for step in range(plan.steps):
            loss, gradients = self._gradients(handle, plan, step)
            norm = np.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in gradients.values()))
            scalars = {n: v[step].astype(self._dtype) for n, v in plan.scalars.items()}
            if self._task.clips:
                factor = self._dtype.type(self.clipping(norm, plan.scalars["clip_norm"][step]))
                gradients = {n: g * factor for n, g in gradients.items()}
            for name, g in gradients.items():
                state = tuple(self._slots[slot][name] for slot in self._rule.slots)
                decay = name in self._task.decayed
                new = self._rule.update(self._w[name], g, state, scalars, decay, np.sqrt)
                self._w[name] = new[0]
                for slot, array in zip(self._rule.slots, new[1], strict=True):
                    self._slots[slot][name] = array
            losses.append(loss)
            norms.append(norm)
        wanted = np.array(norms, np.float64) if self._task.norms else None
        return Done(StepResults(np.array(losses, np.float64), wanted))

    def clipping(self, norm, bound):
        return min(1.0, bound / (norm + 1e-6))

    def gradients(self, handle, plan):
        return self._gradients(handle, plan, 0)

    def _gradients(self, handle, plan, step):
        total, gradients = 0.0, {n: np.zeros_like(self._w[n]) for n in self._task.trainable}
        for shard, count in enumerate(plan.counts[step]):
            rows = plan.indices[step, shard, :count]
            values = self._forward(handle[0][rows], plan.preprocess)
            losses, slopes = self._losses(values[self._network.nodes[-1].name], handle[1], rows)
            share = plan.weights[step, shard, :count]
            total += float((losses.astype(np.float64) * share).sum())
            self._backward(values, slopes * share.astype(self._dtype)[:, None], gradients)
        return total, gradients

    def _forward(self, x, preprocess):
        x = x.astype(self._dtype) * np.array(preprocess.scale, self._dtype)
        values = {INPUT: x - np.array(preprocess.shift, self._dtype)}
        for node in self._network.nodes:
            x = values[node.inputs[0]]
            if node.op == "linear":
                x = x @ self._w[f"{node.name}.weight"].T + self._w[f"{node.name}.bias"]
            elif node.op != "flatten":
                x = np.tanh(x) if node.op == "tanh" else np.maximum(x, 0)
            values[node.name] = x
        return values

    def _backward(self, values, slope, gradients):
        for node in reversed(self._network.nodes):
            x, y = values[node.inputs[0]], values[node.name]
            if node.op == "linear":
                for leaf, own in (("weight", slope.T @ x), ("bias", slope.sum(axis=0))):
                    if f"{node.name}.{leaf}" in gradients:
                        gradients[f"{node.name}.{leaf}"] += own
                slope = slope @ self._w[f"{node.name}.weight"]
            elif node.op != "flatten":
                slope = slope * ((1 - y * y) if node.op == "tanh" else (y > 0))

    def _losses(self, outputs, labels, rows):
        if labels is None:
            raise DataError("labels are needed, but this data was put without")
        count = outputs.shape[1]
        if self._network.objective == "regression":
            apart = outputs - labels[rows].astype(self._dtype)
            return (apart * apart).mean(axis=1), 2 * apart / count
        shifted = outputs - outputs.max(axis=1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        epsilon = self._task.label_smoothing
        wanted = (1 - epsilon) * np.eye(count)[labels[rows]] + epsilon / count
        wanted = wanted.astype(self._dtype)
        return -(wanted * logs).sum(axis=1), np.exp(logs) - wanted

    def _outputs(self, handle, plan):
        # One by one: what is added up must not depend on a batch's size.
        for rows, count in zip(plan.indices, plan.counts, strict=True):
            for row in rows[:count]:
                values = self._forward(handle[0][[row]], plan.preprocess)
                yield row, values[self._network.nodes[-1].name]

    def evaluate(self, handle, plan):
        loss, correct, predictions = 0.0, 0, 0
        for row, outputs in self._outputs(handle, plan):
            loss += float(self._losses(outputs, handle[1], [row])[0][0])
            if self._network.objective == "classification":
                correct += int(outputs[0].argmax() == handle[1][row])
            predictions += 1
        return Sums(loss, correct, predictions)

    def predict(self, handle, plan):
        return np.concatenate([outputs for _, outputs in self._outputs(handle, plan)])

    def forward(self, handle, plan, *, training):
        return self.predict(handle, plan)

    def native(self):
        return self.export_weights()

    def save_native(self, folder, belongings=None):
        folder.mkdir(parents=True)
        np.savez(folder / "weights.npz", **self._w)
        return Path(folder)

    def close(self):
        self._w = self._slots = None


class PlainBackend(Backend):
    name = "plain"
    title = "NumPy"
    packages = ("numpy",)
    install = "pip install numpy"
    capabilities = Capabilities(
        frozenset(("flatten", "linear", "tanh", "relu")), frozenset(RULES),
        frozenset(("float32", "float64")), frozenset(("cpu",)),
    )  # fmt: skip
    session = PlainSession

    def available(self):
        return None

    def devices(self):
        return ["cpu"]

    def open(self, network, task, *, device, precision, numerics):
        if device != "cpu":
            raise DeviceMissing(f"device {device!r} is not here; there is: cpu")
        return self.session(network, task, precision)


backend = PlainBackend()
