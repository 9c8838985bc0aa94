"""The four steps of an experiment. Each takes artifacts and leaves artifacts.

    pretrain   (model, recipe, data)         → weights, kept by content for whoever asks again
    select     (candidates, folds)           → the chosen candidate's patch to the spec
    optimize   (search space, validation)    → the best trial's patch to the spec
    finetune   (weights, task data)          → the final weights

All of them train through ``fitting.fit``, and so through the one loop.
"""
