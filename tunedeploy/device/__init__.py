# SPDX-License-Identifier: Apache-2.0
"""Everything that runs without torch: opening bundles, encoding raw rows, comparing outputs, deciding answers.

It needs numpy and onnxruntime, and encoders need tokenizers or Pillow: nothing else, not even the rest of tunedeploy,
so imports are relative. Every bundle holds this folder as `parity/device/`, where the parity kit and apps run it.
"""
