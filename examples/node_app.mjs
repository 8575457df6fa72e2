// Load a bundle of texts with transformers.js: npm install @huggingface/transformers
//
//     node examples/node_app.mjs runs/quickstart/dist "A warm, funny film."
//
// dtype "fp32" is onnx/model.onnx, "int8" is onnx/model_int8.onnx, "fp16" is onnx/model_fp16.onnx.

import { readFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { env, pipeline } from "@huggingface/transformers";

const [bundle, ...inputs] = process.argv.slice(2);
const { task, variants, preprocessing } = JSON.parse(readFileSync(join(bundle, "manifest.json"), "utf8"));

env.allowRemoteModels = false;
env.localModelPath = dirname(resolve(bundle));
const classify = await pipeline(task, basename(resolve(bundle)), { dtype: "int8" in variants ? "int8" : "fp32" });

// The first code points of a text, as many as were read in training; a JavaScript string counts in halves of some.
const limit = preprocessing.max_characters ?? Infinity;
const cut = (text) => (text.length <= limit ? text : Array.from(text.slice(0, 2 * limit)).slice(0, limit).join(""));

for (const input of inputs) {
  const [{ label, score }] = await classify(cut(input));
  console.log(`${label}\t${score.toFixed(4)}\t${input}`);
}
