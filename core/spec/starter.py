"""The commented spec that ``paribus init`` writes: every section and every key.

What is stated is the default, except for the candidates and the search space, which have none. A
key that is commented out shows a value where the default is no value. A test holds both to the
sections.
"""

from __future__ import annotations


def starter() -> str:
    """Return the text of a complete TOML spec; it loads and runs as it is."""
    return STARTER


STARTER = """\
# An experiment for paribus. Every value below is the default unless it says "example";
# any key may be left out. Run it:      paribus run spec.toml --backend torch
# Check it without running:             paribus check spec.toml
# Change a value for one run:           paribus run spec.toml --set finetune.epochs=3

name = "experiment"        # names the run folder
seed = 0                   # initial weights, splits, order and augmentation follow from it
backend = "auto"           # auto (the first that is installed), or torch, tensorflow, huggingface
device = "auto"            # auto, cpu, cuda, cuda:N, mps
precision = "float32"      # float32, float64, bfloat16 (mixed)
numerics = "strict"        # strict: bit-identical repeats; fast: fastest within stated tolerance
tolerance = 0.5            # with "fast": how far a gradient may be from that of "strict",
                           # relative to its norm; of losses and outputs a tenth
dropout_masks = "portable" # portable: the same on every backend; native: the framework's own
                           # generator, with numerics = "fast"
batched_trainings = true   # make small trainings of select and optimize together; false: in turn
steps = ["pretrain", "select", "optimize", "finetune"]   # what runs, in this order
# checkpoint = "folder"    # published: its sizes, tokenizer, preprocessing and weights
evaluate_test = true       # touch the test set, once, after the last step

[checkpoints]              # when the state of a run is kept, for paribus run --resume
minutes = 5.0              # minutes between two; 0: not by the clock
# steps = 1000             # optimizer steps between two
keep = 2                   # of the last ones stay
best = true                # and the best weights so far, in checkpoints/best.safetensors

[cache]                    # what frozen bodies compute, kept for every run that has the same
enabled = true             # compute what is frozen once, instead of in every epoch
# directory = "features"   # by default features in $PARIBUS_CACHE, else in ~/.cache/paribus
limit = 10.0               # GiB; what was not used for longest goes first

[data]
source = "digits"          # digits (embedded), fashion_mnist, npz, image_folder; of texts: csv,
                           # jsonl, parquet, text, datasets (saved by Hugging Face datasets)
# path = "data/set.npz"    # file or folder; not for digits
label = ["label"]          # csv, jsonl, parquet, datasets: column of the class or the numbers
memory = "auto"            # load, stream (read when needed), or auto: stream what is large
# classes = [0, 1]         # keep only these, relabelled in this order
# limit = 1000             # a stratified subset of this size
# groups = "patient"       # npz key or column of groups, for select.scheme = "grouped"

[data.split]
validation = 0.15          # share of all examples
test = "auto"              # a share, given (the source's own), or auto: given, else 0.2
stratify = true            # keep each class's share in every part
# seed = 0                 # the split's own seed; by default the experiment's

[data.image]
# size = [32, 32]          # height and width to resize to
# channels = 3             # 1: grey, 3: RGB
interpolation = "bilinear" # nearest, bilinear, bicubic, lanczos
fit = "stretch"            # to size: stretch, or cover (keep proportions, cut the centre out)
background = [255, 255, 255]   # red, green, blue behind transparent pixels
unreadable = "error"       # files that cannot be decoded: error, skip (and count them)

[data.transform]
normalize = "unit"         # unit ([0, 1]), train, imagenet, or {mean = [...], std = [...]}
# crop = 28                # side of a square crop: random in training, else the centre
pad = 0                    # zero padding before a random crop
horizontal_flip = false    # with probability 1/2, in training
vertical_flip = false      # with probability 1/2, in training
# augment_copies = 4       # draw crops and flips so many times for good, and use them in turns

[data.text]                # for sources of texts
columns = ["text"]         # column of the text, or two for pairs of texts
length = 128               # tokens of a text at most; the rest is cut
# widths = [32, 64, 128]   # lengths that batches are padded to

[data.tokenizer]           # for sources of texts: given, or trained on them
# path = "folder"          # a tokenizer.json, or a Hugging Face folder
kind = "wordpiece"         # trained: wordpiece, bpe (byte level)
vocabulary = 8192          # trained: tokens at most
lowercase = true           # wordpiece: read capital letters as small

[model]                    # also short: model = "resnet18"
architecture = "cnn"       # mlp, cnn, resnet18 … resnet152, vgg11 … vgg19_bn, mobilenet_v2, vit,
                           # vit_b_16, vit_b_32, vit_l_16, bert, gpt2: see paribus models
channels = [16, 32]        # cnn: output channels of each block
kernel = 3                 # cnn: 1, 3, 5 or 7
batch_norm = true          # cnn: BatchNorm after each convolution
pooling = "flatten"        # cnn: flatten, average; bert: cls, mean
hidden = 0                 # cnn: width before the head, 0 for none; mlp: a list such as [128];
                           # vgg: 4096, width before the head; vit: 192, bert, gpt2: 768, of a token
# activation = "relu"      # mlp: relu, tanh
# width = 1.0              # mobilenet_v2: multiplies the channels of every layer
# patch = 16               # vit: pixels on a side; the image's sides are multiples of it
# layers = 12              # vit, bert, gpt2
# heads = 3                # vit, bert, gpt2: they divide hidden
# mlp = 768                # vit: width between the two layers of an MLP
# intermediate = 3072      # bert, gpt2: the same
# gelu = "exact"           # vit, bert, gpt2: exact, tanh (its approximation)
# vocabulary = 30522       # bert, gpt2: tokens; by default those of the tokenizer
# positions = 512          # bert, gpt2: tokens of the longest text
# eps = 1e-12              # vit, bert, gpt2: of every LayerNorm
dropout = 0.0              # all but resnet*: probability of dropping a value in training
# attention_dropout = 0.0  # vit*, bert, gpt2: the same of attention's shares
# stochastic_depth = 0.0   # resnet*, vit*: probability that an example skips the last block

# [native]                 # instead of [model] and checkpoint: models of your own, by backend
# torch = "mymodels:build" # package.module:function, which returns the model
# path = "models"          # folder of the modules; by default the spec's own
# names = "names.json"     # which tensor of one model is which of another's
# initial = "first.safetensors"   # the weights that drawn means; by default the function's own

[pretrain]                 # trains a model on [data], or on what [pretrain.data] changes in it
objective = "classification"   # what is learned: classification, regression; of texts also
                           # masked_lm (masked tokens), causal_lm (each next token)
epochs = 10                # passes over the training rows
batch_size = 32            # rows of one optimizer step
shards = 1                 # parts of a batch, computed one by one
last_batch = "keep"        # an epoch's incomplete last batch: keep, drop
# clip_norm = 1.0          # largest global L2 norm of the gradient
on_nonfinite = "stop"      # a step whose loss or gradient is NaN or infinite: stop, or skip it
most_skipped = 10          # with "skip": as many in a row stop the training all the same
label_smoothing = 0.0      # classification: share of each label given to all classes
# class_weights = "balanced"   # classification: balanced, or a list of a weight per class
mask_probability = 0.15    # masked_lm: share of a text's tokens to predict
group_by_length = false    # texts: those of like length into one batch
monitor = "loss"           # a validation metric: loss, accuracy, macro_f1, … (see metrics)
metrics = []               # to report, too: balanced_accuracy, macro_f1, roc_auc, log_loss,
                           # calibration_error, top_5_accuracy; mean_absolute_error, r2
keep = "last"              # whose weights are kept: last, best (by monitor)
weights = "drawn"          # drawn, checkpoint (as above), or a file, a folder, hub:owner/name
# data = {limit = 500}     # what differs from [data] for this step

[pretrain.optimizer]       # also short: optimizer = "adam"
name = "sgd"               # gradient_descent, sgd, adam, adamw, rmsprop
learning_rate = 0.01       # 0.1 for gradient_descent; 0.001 for adam, adamw, rmsprop
weight_decay = 0.0         # 0.01 for adamw
decay = "all"              # what decays: all, weights (no bias, no norm; adamw's default)
momentum = 0.0             # sgd, rmsprop
nesterov = false           # sgd; needs momentum
# beta1 = 0.9              # adam, adamw
# beta2 = 0.999            # adam, adamw
# epsilon = 1e-8           # adam, adamw, rmsprop
# alpha = 0.99             # rmsprop: the kept share of the mean square

[pretrain.schedule]        # also short: schedule = "cosine"
name = "constant"          # constant, step, linear, cosine
warmup_epochs = 0.0        # linear rise from 0
# every_epochs = 10        # step: epochs between two falls
# gamma = 0.1              # step: what each fall multiplies by
# final = 0.0              # linear, cosine: share of the learning rate at the end

# [pretrain.early_stopping]
# patience = 5             # epochs without improvement before it stops
# min_delta = 0.0          # what counts as improvement

[select]                   # cross-validates the candidates
step = "finetune"          # whose recipe trains them: pretrain, finetune
scheme = "auto"            # stratified, kfold, grouped, holdout; auto: what the data allows
folds = 5                  # parts per repeat
repeats = 1                # times the whole is repeated with other folds
validation = 0.2           # holdout: share held out
metric = "loss"            # the validation metric that decides
rule = "best"              # best, one-standard-error (the smallest within one of the best)
# epochs = 5               # instead of the recipe's

[[select.candidates]]      # example; any part of model, pretrain, finetune, data.transform
name = "small"
model = {architecture = "mlp", hidden = [64]}

[[select.candidates]]      # example
name = "convolutional"
model = {architecture = "cnn", channels = [8, 16]}

[optimize]                 # searches hyperparameters
step = "finetune"          # whose recipe trains the trials: pretrain, finetune
sampler = "tpe"            # random, tpe, grid
trials = 20                # how many are tried
pruner = "none"            # stops losers early: none, median, successive-halving
metric = "loss"            # the validation metric that decides
folds = 0                  # 0: the validation split; 2 or more: the mean over folds
# epochs = 5               # instead of the recipe's

[optimize.search]          # example; a range {low, high, log, step} or a list of choices
"finetune.optimizer.learning_rate" = {low = 0.001, high = 0.3, log = true}
"finetune.batch_size" = [16, 32]

[finetune]                 # trains on the task's data, from the pretrained body
objective = "classification"   # classification, regression, masked_lm, causal_lm
epochs = 10                # passes over the training rows
batch_size = 32            # rows of one optimizer step
shards = 1                 # parts of a batch, computed one by one
last_batch = "keep"        # an epoch's incomplete last batch: keep, drop
# clip_norm = 1.0          # largest global L2 norm of the gradient
on_nonfinite = "stop"      # a step whose loss or gradient is NaN or infinite: stop, or skip it
most_skipped = 10          # with "skip": as many in a row stop the training all the same
label_smoothing = 0.0      # classification: share of each label given to all classes
# class_weights = "balanced"   # classification: balanced, or a list of a weight per class
mask_probability = 0.15    # masked_lm: share of a text's tokens to predict
group_by_length = false    # texts: those of like length into one batch
monitor = "loss"           # a validation metric: loss, accuracy, macro_f1, … (see metrics)
metrics = []               # to report, too: balanced_accuracy, macro_f1, roc_auc, log_loss,
                           # calibration_error, top_5_accuracy; mean_absolute_error, r2
keep = "best"              # whose weights are kept: last, best (by monitor)
weights = "auto"           # auto (the pretrain step's, else the checkpoint's, else drawn),
                           # checkpoint, drawn, or a file, a folder, hub:owner/name
head = "new"               # the last layer: new, keep
freeze = "none"            # none, body (all but the head), or a stage: frozen below it

[finetune.optimizer]       # keys as in [pretrain.optimizer]
name = "sgd"
learning_rate = 0.01
weight_decay = 0.0
decay = "all"
momentum = 0.0
nesterov = false

[finetune.schedule]        # keys as in [pretrain.schedule]
name = "constant"
warmup_epochs = 0.0

# [finetune.early_stopping]
# patience = 5             # epochs without improvement before it stops
# min_delta = 0.0          # what counts as improvement
"""
