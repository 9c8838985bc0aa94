"""ONNX files, written straight from a network's nodes and canonical tensors.

No framework takes part: a model becomes the same file whatever backend trained it, also on a
machine that has none of them. ``graph`` holds operators as plain values, ``operations`` and
``texts`` translate a network's nodes into them, ``writer`` makes the file, ``checking`` runs it.
The packages that this needs, onnx and onnxruntime, are imported inside the functions that use them.

What a file holds: float32, the inference form (BatchNorm with its running statistics), operators
of the standard opset 17 and no others, so any runtime that knows them will do. The batch is
dynamic.

    images   pixel_values   float32 [batch, C, H, W], already normalised
    tables   features       float32 [batch, F], already normalised
    texts    input_ids      int64 [batch, tokens], the length dynamic too
             attention_mask int64 [batch, tokens], 0 where paribus' own token number is −1; the
                            tokens of a text come first, padding is behind them
             token_type_ids int64 [batch, tokens], the segments, where the network knows segments

    classification          logits float32 [batch, classes]
    regression              values float32 [batch, outputs]
    language models         logits float32 [batch, tokens, vocabulary]

An input that nothing reads is left out, as the mask of a causal language model is. Tensors keep
their canonical names; those called ``….transposed`` are stored (in, out), the others in their
canonical layout. Weights of 2 GB and more, which one file cannot hold, are in ``FILE.data`` beside
it. The metadata has ``architecture``, ``objective`` and, as JSON, where they are known:
``class_names``, by class number; ``image``, the fields of ``belongings.ImageProcessing``;
``preprocess``, ``scale`` and ``shift`` per channel or feature, with which examples as the data
source stores them become inputs (value · scale − shift), of images and tables; ``length``, tokens
of the longest text.
"""

from paribus.onnx.checking import check, save
from paribus.onnx.writer import write

__all__ = ["check", "save", "write"]
