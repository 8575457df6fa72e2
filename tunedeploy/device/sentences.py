"""What every comparison says, by its id: programs look a comparison up by the id, people read the sentence.

An id never changes and names no variant. `{variant}`, `{metric}` and the like stand for what differs from run to run.
"""

from collections.abc import Mapping

OF_A_BUNDLE: Mapping[str, str] = {
    # its files
    "bundle-files": "files missing, changed or added",
    "file-missing": "file missing",
    "file-changed": "file changed",
    "file-added": "file added",
    "file-not-regular": "file is a link, or not a regular file",
    "file-not-listable": "file cannot be listed",
    "variant-files": "bytes or SHA-256 of variants that differ",
    "bundle-id": "bundle ids other than the one expected",
    "signature": "signatures that do not hold",
    # its goldens
    "golden-rules": "variants that manifest.json and tolerances.json tell otherwise",
    "golden-inputs": "raw rows vs golden inputs: largest difference",
    "golden-outputs": "{variant} vs golden outputs: largest logit difference",
    "golden-flips": "{variant} vs golden outputs: answers changed outside near-ties",
    "golden-gain": "{reference} goldens vs {variant}: gain of the logits",
    "golden-answers": "{variant}: golden answers that changed",
    "tokenizer-probe": "tokenizer's probe: parts that differ",
    "tokenizer-probe-version": "tokenizer's probe: version of its texts, which are not compared",
    # what it says of itself
    "label-lists": "label lists that differ",
    "config-facts": "facts of the model's configuration that differ",
    "tokenizer-facts": "facts of the tokenizer that differ",
    "recipe-facts": "facts of the recipe that differ",
    "onnx-test-sets": "ONNX test sets that differ",
    "scores": "scores that differ",
}
OF_BOTH: Mapping[str, str] = {
    "failures": "failures to load or run",
    "interface": "inputs and outputs under another name",
    "training-nodes": "{variant}: nodes that compute as in training",
    "graph-not-read": "{variant}: nodes and products not looked at, since the package onnx is missing",
    "saturation": "{variant}: products that can saturate without VNNI",
    "metadata": "{variant}: facts in the file that differ",
    "preprocessing-facts": "preprocessing told otherwise",
}
OF_A_RUN: Mapping[str, str] = {
    "stage-files": "files changed or missing",
    # train and merge
    "training-logits": "logits of training vs trained model: largest difference",
    "training-scores": "scores of training that differ",
    "adapter-vs-merged": "adapter vs merged: largest logit difference",
    "merged-vs-reloaded": "merged vs reloaded: largest logit difference",
    "merged-vs-base": "merged differs from base",
    "trained-tensors": "trained trunk tensors that differ from base",
    "trained-vs-merged": "trained model vs merged: largest logit difference",
    "merged-weights": "trained model vs merged: tensors that differ",
    "merged-facts": "facts of the merged folder that differ",
    # preprocessing
    "merged-preprocessing": "training vs merged preprocessing: largest difference",
    "bundled-preprocessing": "training vs bundled preprocessing: largest difference",
    "bundled-preprocessing-facts": "training vs bundled preprocessing: facts that differ",
    "preprocessing-parts": "parts of the preprocessing that are not training's",
    "broken-rows": "broken rows that were taken",
    # the float32 file
    "torch-vs-onnx": "torch vs onnx: largest logit difference",
    "graph-vs-torch": "one graph by itself, torch vs onnx: largest difference",
    "cache-invariance": "cache invariance: largest logit difference",
    "generated-texts": "generated texts, torch vs onnx: rows that differ outside near-ties",
    "golden-texts": "{variant}: generated golden texts that differ outside near-ties",
    "beyond-the-trace": "beyond what was traced, torch vs onnx: largest logit difference",
    "embedded-ids": "embedded ids, torch vs onnx: largest difference",
    "embedded-ids-not-compared": "embedded ids: not compared, since the model names no table of embeddings",
    "embedding-rows": "rows of embedding tables that differ",
    "batch-invariance": "batch invariance: largest logit difference",
    "padding-invariance": "padding invariance: largest logit difference",
    "trained-vs-onnx": "trained model vs onnx, whole evaluation split: largest logit difference",
    # each file
    "labels": "{variant}: labels out of order",
    "threads": "{variant}: two sessions, 1 and 2 threads: largest logit difference",
    "fusion": "{variant}: before and after fusion: largest logit difference",
    "file-scores": "scores of the files that differ",
    # each file of another precision
    "flips": "fp32 vs {variant}: rows flipped outside near-ties",
    "flips-on-the-other-cpu": "fp32 vs {variant} on a CPU {cpu}, simulated: rows flipped outside near-ties",
    "gain": "fp32 vs {variant}: gain of the logits",
    "not-finite": "{variant}: edge rows with NaN or infinity",
    "drop": "{variant}: drop of {metric}",
    "since-judged": "{variant}: largest change since it was judged",
    "unexplained-nodes": "{variant}: nodes that the float32 file does not explain",
    "nodes-not-compared": "{variant}: nodes that nothing explains, since the precision names no REWRITES",
    "stored-weights": "{variant}: largest error of a stored weight, in rounding steps",
    "rounded-weights": "{variant}: stored weights that were rounded",
    "activation-ranges": "{variant}: ranges of activations that the data do not show",
    "local-parity": ("{variant}: local parity: largest difference of a node that rounding does not explain, in limits"),
    # its bundle
    "manifest-facts": "facts of the manifest that differ",
}
OF_A_DIAGNOSIS: Mapping[str, str] = {"module": "{module}"}
SENTENCES: Mapping[str, str] = {**OF_A_BUNDLE, **OF_BOTH, **OF_A_RUN, **OF_A_DIAGNOSIS}

# Largest differences of logits: of two float32 programs, or of one file run in two ways.
OF_LOGITS = frozenset(
    {"adapter-vs-merged", "merged-vs-reloaded", "trained-vs-merged", "torch-vs-onnx", "beyond-the-trace"}
    | {
        "graph-vs-torch",
        "cache-invariance",
        "batch-invariance",
        "padding-invariance",
        "trained-vs-onnx",
        "threads",
        "fusion",
    }
)
# Where the first breach of these is of an ONNX file, `tunedeploy diagnose` finds its beginning.
OF_ANSWERS = OF_LOGITS | {"flips", "flips-on-the-other-cpu"}
