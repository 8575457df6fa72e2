# SPDX-License-Identifier: Apache-2.0
"""All that runs where there is no torch: a bundle opened, raw rows encoded, outputs compared, answers decided.

It needs numpy and onnxruntime, and encoders need tokenizers or Pillow: nothing else, nothing of tunedeploy either, so
imports are relative. The folder travels in every bundle as `parity/device/`, where the parity kit and apps run it.
"""
