"""The state of a run: what it takes to stop on one backend and to go on on another, to one end.

Whatever is random is a function of (seed, stream, step), so little has to be kept:

    finished     the outcome of every training so far. A run that goes on takes its steps from the
                 beginning, and each training that is known is answered instead of repeated: a
                 selection compares the same scores, a search proposes the same trials.
    training     the one under way: canonical weights, optimizer slots, and the loop's position
    metrics      how many bytes of metrics.jsonl belong to this state; what follows is cut off

On the disk, beside the run's other files:

    checkpoints/000012/manifest.json        written last: sizes and SHA-256 of the two others
    checkpoints/000012/state.json           everything but tensors
    checkpoints/000012/tensors.safetensors  of the training under way
    checkpoints/models/SHA256.safetensors   of finished trainings whose weights later steps need
    checkpoints/best.safetensors            the best weights so far, which nothing goes on from
    .lock                                   held by the process that writes the folder

A checkpoint is staged as ``000012.partial``, synced and renamed. The last ones are kept: one that
is torn or altered is recognised by its hashes, and the one before is used. Only JSON and
safetensors are read, under names that are fixed here, and sizes and shapes are checked first.
"""
