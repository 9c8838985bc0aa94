"""The suite's small networks, data and plans, under short names, for tests of our own."""

from __future__ import annotations

from paribus.testing.closeness import distance
from paribus.testing.data import (
    SCALING,
    Array,
    images,
    labels,
    scaling,
    stored,
    targets,
    tensors,
    texts,
)
from paribus.testing.networks import LENGTH, NETWORKS, TINY, WORDS
from paribus.testing.plans import HYPERPARAMETERS, batches, eval_plan, steps, task, train_plan

CNN = NETWORKS["cnn"]
PLAIN = NETWORKS["plain"]
MLP = NETWORKS["mlp"]
RESNET = NETWORKS["resnet18"]
VGG = NETWORKS["vgg11_bn"]
MOBILENET = NETWORKS["mobilenet_v2"]
VIT = NETWORKS["vit"]
# torchvision has none like it: on torch, the nodes themselves.
WIDE_VIT = NETWORKS["wide_vit"]
BERT = NETWORKS["bert"]
MEAN_BERT = NETWORKS["mean_bert"]
MASKED_BERT = NETWORKS["masked_bert"]
GPT2 = NETWORKS["gpt2"]
CAUSAL_GPT2 = NETWORKS["causal_gpt2"]

__all__ = [
    "BERT",
    "CAUSAL_GPT2",
    "CNN",
    "GPT2",
    "HYPERPARAMETERS",
    "LENGTH",
    "MASKED_BERT",
    "MEAN_BERT",
    "MLP",
    "MOBILENET",
    "PLAIN",
    "RESNET",
    "SCALING",
    "TINY",
    "VGG",
    "VIT",
    "WIDE_VIT",
    "WORDS",
    "Array",
    "batches",
    "distance",
    "eval_plan",
    "images",
    "labels",
    "scaling",
    "steps",
    "stored",
    "targets",
    "task",
    "tensors",
    "texts",
    "train_plan",
]
